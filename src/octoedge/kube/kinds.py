"""The kinds of objects that Octoedge asks an API server for: how each is called in a path and in an object.

What the embedded API server serves, and how, is the table in `apiserver.kinds`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object."""

    plural: str
    kind: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """As it stands in objects: `v1`, `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def root(self) -> str:
        """Where paths of this group and version begin."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"


PODS = Kind("pods", "Pod")
NODES = Kind("nodes", "Node", namespaced=False)
NAMESPACES = Kind("namespaces", "Namespace", namespaced=False)
CONFIGMAPS = Kind("configmaps", "ConfigMap")
SECRETS = Kind("secrets", "Secret")
EVENTS = Kind("events", "Event")
SERVICEACCOUNTS = Kind("serviceaccounts", "ServiceAccount")
PERSISTENTVOLUMES = Kind("persistentvolumes", "PersistentVolume", namespaced=False)
PERSISTENTVOLUMECLAIMS = Kind("persistentvolumeclaims", "PersistentVolumeClaim")
LEASES = Kind("leases", "Lease", "coordination.k8s.io")
CSIDRIVERS = Kind("csidrivers", "CSIDriver", "storage.k8s.io", namespaced=False)
VOLUMEATTACHMENTS = Kind("volumeattachments", "VolumeAttachment", "storage.k8s.io", namespaced=False)
SIGNINGREQUESTS = Kind(
    "certificatesigningrequests", "CertificateSigningRequest", "certificates.k8s.io", namespaced=False
)
OBJECTSYNCS = Kind("objectsyncs", "ObjectSync", "reliablesyncs.kubeedge.io", "v1alpha1")
DEVICES = Kind("devices", "Device", "devices.kubeedge.io", "v1beta1")
DEVICEMODELS = Kind("devicemodels", "DeviceModel", "devices.kubeedge.io", "v1beta1")
DEVICESTATUSES = Kind("devicestatuses", "DeviceStatus", "devices.kubeedge.io", "v1beta1")
SERVICEACCOUNTACCESSES = Kind("serviceaccountaccesses", "ServiceAccountAccess", "policy.kubeedge.io", "v1alpha1")
CLUSTEROBJECTSYNCS = Kind(
    "clusterobjectsyncs", "ClusterObjectSync", "reliablesyncs.kubeedge.io", "v1alpha1", namespaced=False
)
