"""Ways to speak with Kubernetes: `client`, `informer` ask an API server; `read`, `selector`, `patch` serve like one."""
