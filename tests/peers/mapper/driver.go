// The driver of the Go mapper that the matrix starts (see README.md in this folder): devices that exist in memory only.
//
// A property is by its visitor's dataType a counter (int: it starts at 0 and grows by 1 in 500 ms; setting it lets it go
// on from there) or a shelf (anything else: what was put there last). A shelf with "fail" on it makes the device
// unhealthy.

package driver

import (
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/kubeedge/mapper-framework/pkg/common"
)

const step = 500 * time.Millisecond

type memory struct {
	sync.Mutex
	began  time.Time
	values map[string]string
}

var memories sync.Map // of *CustomizedClient: the framework's own type has no room

func NewClient(protocol ProtocolConfig) (*CustomizedClient, error) {
	client := &CustomizedClient{ProtocolConfig: protocol}
	memories.Store(client, &memory{began: time.Now(), values: map[string]string{}})
	return client, nil
}

func (c *CustomizedClient) of() (*memory, error) {
	found, ok := memories.Load(c)
	if !ok {
		return nil, fmt.Errorf("the device was not begun or is stopped")
	}
	return found.(*memory), nil
}

func (c *CustomizedClient) InitDevice() error { return nil }

func (c *CustomizedClient) StopDevice() error {
	memories.Delete(c)
	return nil
}

func (c *CustomizedClient) GetDeviceData(visitor *VisitorConfig) (interface{}, error) {
	m, err := c.of()
	if err != nil {
		return nil, err
	}
	m.Lock()
	defer m.Unlock()
	if visitor.VisitorConfigData.DataType == "int" {
		return int64(time.Since(m.began) / step), nil
	}
	return m.values[visitor.VisitorConfigData.DataType], nil
}

func (c *CustomizedClient) SetDeviceData(data interface{}, visitor *VisitorConfig) error {
	m, err := c.of()
	if err != nil {
		return err
	}
	text := fmt.Sprint(data)
	m.Lock()
	defer m.Unlock()
	if visitor.VisitorConfigData.DataType != "int" {
		m.values[visitor.VisitorConfigData.DataType] = text
		return nil
	}
	if text == "" { // nothing is wished for
		return nil
	}
	count, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return err
	}
	m.began = time.Now().Add(-time.Duration(count) * step)
	return nil
}

func (c *CustomizedClient) DeviceDataWrite(visitor *VisitorConfig, method, property string, data interface{}) error {
	return c.SetDeviceData(data, visitor)
}

func (c *CustomizedClient) GetDeviceStates() (string, error) {
	m, err := c.of()
	if err != nil {
		return common.DeviceStatusOffline, nil
	}
	m.Lock()
	defer m.Unlock()
	for _, value := range m.values {
		if value == "fail" {
			return common.DeviceStatusUnhealthy, nil
		}
	}
	return common.DeviceStatusOK, nil
}

func (c *CustomizedClient) AnomalyDetectionProcess(*AnomalyDetectionRequest) error { return nil }
