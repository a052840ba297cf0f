"""`kubectl apply` (client and server side), `diff`, `replace`, `edit`, kustomize: a manifest again changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from octoedge.testing.kubectl import Tool

MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: '1', b: '2'}\n"

POD = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}, annotations: {}}
spec:
  restartPolicy: Always
  hostNetwork: true
  nodeSelector: {}
  serviceAccount: default
  securityContext: {}
  containers:
  - name: web
    image: nginx
    command: []
    env:
    - {name: A, value: ""}
    - {name: B, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    ports:
    - {containerPort: 80}
    - {containerPort: 53, protocol: UDP, hostPort: 53}
    resources: {limits: {cpu: 500m, memory: 128Mi}}
    readinessProbe: {httpGet: {path: /, port: 80}}
    securityContext: {}
  - {name: side, image: 'busybox:1', ports: []}
"""

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 25%}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: nginx:1.25
        ports: [{containerPort: 80}, {containerPort: 443, name: https}]
        livenessProbe: {exec: {command: ["true"]}}
        resources: {requests: {cpu: 100m, memory: "1073741824"}}
        env: [{name: A, value: "1"}, {name: B}]
"""

OTHERS = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: web, port: 80, targetPort: 8080}, {name: dns, port: 53, protocol: UDP}]}
---
apiVersion: v1
kind: Secret
metadata: {name: s}
data: {user: YW5u, empty: ""}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: j}
spec:
  schedule: "0 0 * * *"
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 0
  selector: {matchLabels: {app: db}}
  template: {metadata: {labels: {app: db}}, spec: {containers: [{name: c, image: i, ports: [{containerPort: 1}]}]}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template: {metadata: {labels: {app: agent}}, spec: {nodeSelector: {else: limits}, containers: [{name: c, image: i}]}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: i}
spec: {rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: net}
spec: {podSelector: {}, ingress: [{ports: [{port: 80}]}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: r}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects:
- {kind: ServiceAccount, name: default, namespace: default}
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: ann}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: robot}
imagePullSecrets: [{name: s}]
"""


QUIRKS = """
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
  - {name: web, image: nginx, volumeMounts: [{name: d, mountPath: /d}, {name: s, mountPath: /s}]}
  volumes:
  - {name: d, emptyDir: {}}
  - {name: s, secret: {secretName: x, optional: true}}
  - {name: c, configMap: {name: m, optional: true, items: [{key: a, path: a}]}}
  - {name: p, projected: {sources: [{serviceAccountToken: {path: token, expirationSeconds: 3600}}]}}
  - {name: h, hostPath: {path: /tmp}}
---
apiVersion: v1
kind: Secret
metadata: {name: s}
stringData: {user: ann}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: b}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: web}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 0
  selector: {matchLabels: {app: db}}
  template: {metadata: {labels: {app: db}}, spec: {containers: [{name: c, image: i}]}}
  volumeClaimTemplates:
  - metadata: {name: d}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: r}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: User, name: ann}]
"""
"""kubectl patches these on every apply and says `configured`, on any Kubernetes: the server adds to them."""


@pytest.mark.parametrize("text", [MAP, POD, DEPLOYMENT, OTHERS], ids=["map", "pod", "deployment", "others"])
def test_the_same_manifest_again_changes_nothing(kubectl: Tool, text: str) -> None:
    """Whatever the server filled in meanwhile is no reason to write."""
    kubectl.file("m.yaml", text)
    for how in ("", "--server-side"):
        made = kubectl(f"apply {how} -f m.yaml").splitlines()
        assert all(line.endswith((" created", "serverside-applied")) for line in made), made
        before = kubectl.get("-f m.yaml")
        again = kubectl(f"apply {how} -f m.yaml").splitlines()
        assert all(line.endswith((" unchanged", "serverside-applied")) for line in again), again
        assert versions(kubectl.get("-f m.yaml")) == versions(before)
        assert kubectl(f"diff {how} -f m.yaml") == ""
        kubectl("delete -f m.yaml --grace-period=0 --force")


def test_patches_that_change_nothing_write_nothing(kubectl: Tool) -> None:
    kubectl.file("m.yaml", QUIRKS)
    kubectl("apply -f m.yaml")
    kubectl("wait pod web --for=condition=Ready --timeout=20s")
    kubectl("wait pdb b --for=jsonpath='{.status.observedGeneration}'=1 --timeout=20s")
    kubectl("wait statefulset db --for=jsonpath='{.status.observedGeneration}'=1 --timeout=20s")
    before = kubectl.get("-f m.yaml")["items"]
    kubectl("apply -f m.yaml")
    after = kubectl.get("-f m.yaml")["items"]
    assert [one["metadata"]["resourceVersion"] for one in after] == [
        one["metadata"]["resourceVersion"] for one in before
    ]


def versions(found: dict[str, Any]) -> list[str]:
    """What a write would have counted up; controllers write too, so the generation where there is one."""
    items = found.get("items", [found])
    return [
        str(one["metadata"].get("generation") or one["metadata"]["resourceVersion"])
        for one in items
        if one["kind"] != "Pod"
    ]


def test_what_was_left_out_goes_and_what_others_set_stays(kubectl: Tool) -> None:
    kubectl("apply -f -", stdin=MAP)
    kubectl("label configmap c mine=yes")
    assert kubectl("apply -f -", stdin=MAP.replace(", b: '2'", ", d: '4'")) == "configmap/c configured\n"
    assert kubectl("get configmap c -o jsonpath='{.data} {.metadata.labels}'") == '{"a":"1","d":"4"} {"mine":"yes"}'
    assert "last-applied-configuration" not in kubectl("apply view-last-applied configmap c")
    kubectl("apply -f -", stdin=DEPLOYMENT)
    kubectl("scale deployment web --replicas=3")
    kubectl(
        "apply -f -", stdin=DEPLOYMENT.replace("  replicas: 2\n", "").replace(", {name: B}", ", {name: C, value: x}")
    )
    shown = kubectl("get deployment web -o jsonpath='{.spec.replicas} {.spec.template.spec.containers[0].env[*].name}'")
    assert shown.split()[1:] == ["A", "C"]


def test_dry_runs_and_diff(kubectl: Tool) -> None:
    for how in ("--dry-run=client", "--dry-run=server", "--server-side --dry-run=server"):
        assert "dry run" in kubectl(f"apply {how} -f -", stdin=MAP)
    assert "NotFound" in kubectl.refused("get configmap c")
    done = kubectl.run("diff -f -", stdin=MAP)
    assert (done.status, '+  a: "1"' in done.out) == (1, True), done
    kubectl("apply -f -", stdin=MAP)
    done = kubectl.run("diff -f -", stdin=MAP.replace("'1'", "'9'"))
    assert '-  a: "1"' in done.out
    assert '+  a: "9"' in done.out
    assert kubectl.run("diff --server-side -f -", stdin=MAP.replace("'1'", "'9'")).status == 1


def test_server_side_apply_and_its_conflicts(kubectl: Tool) -> None:
    kubectl("apply --server-side --field-manager=one -f -", stdin=MAP)
    said = kubectl.refused("apply --server-side --field-manager=two -f -", stdin=MAP.replace("'1'", "'9'"))
    assert 'Apply failed with 1 conflict: conflict with "one": .data.a' in said
    assert "--force-conflicts" in said
    kubectl("apply --server-side --field-manager=two --force-conflicts -f -", stdin=MAP.replace("'1'", "'9'"))
    shown = kubectl("get configmap c -o yaml --show-managed-fields")
    assert shown.count("operation: Apply") == 2
    assert "managedFields" not in kubectl("get configmap c -o yaml")


def test_from_client_side_to_server_side(kubectl: Tool) -> None:
    kubectl("apply -f -", stdin=DEPLOYMENT)
    kubectl("apply --server-side -f -", stdin=DEPLOYMENT.replace("nginx:1.25", "nginx:1.26"))
    assert kubectl("get deployment web -o jsonpath='{.spec.template.spec.containers[*].image}'") == "nginx:1.26"
    gone = DEPLOYMENT.replace(", {containerPort: 443, name: https}", "").replace("nginx:1.25", "nginx:1.26")
    kubectl("apply --server-side -f -", stdin=gone)
    assert (
        kubectl("get deployment web -o jsonpath='{.spec.template.spec.containers[0].ports[*].containerPort}'") == "80"
    )


def test_prune(kubectl: Tool) -> None:
    two = "\n---\n".join(MAP.replace("name: c", f"name: {name}, labels: {{app: x}}") for name in ("c", "e"))
    kubectl("apply -f - --prune -l app=x", stdin=two)
    said = kubectl("apply -f - --prune -l app=x --prune-allowlist=core/v1/ConfigMap", stdin=two.split("---")[0])
    assert "configmap/e pruned" in said
    assert kubectl("get configmap -l app=x -o name") == "configmap/c\n"
    kubectl("delete configmap c")
    kubectl(f"apply -n {kubectl.namespace} -f - --prune --applyset=mine", stdin=two, KUBECTL_APPLYSET="true")
    said = kubectl(
        f"apply -n {kubectl.namespace} -f - --prune --applyset=mine", stdin=two.split("---")[0], KUBECTL_APPLYSET="true"
    )
    assert "configmap/e pruned" in said


def test_replace(kubectl: Tool) -> None:
    kubectl("create -f -", stdin=MAP)
    assert "replaced" in kubectl("replace -f -", stdin=MAP.replace("b: '2'", "c: '3'"))
    assert kubectl("get configmap c -o jsonpath={.data}") == '{"a":"1","c":"3"}'
    stale = MAP.replace("{name: c}", "{name: c, resourceVersion: '1'}")
    assert "the object has been modified; please apply your changes" in kubectl.refused("replace -f -", stdin=stale)
    assert "NotFound" in kubectl.refused("replace -f -", stdin=MAP.replace("name: c", "name: none"))
    kubectl("run web --image=i:v1")
    uid = kubectl("get pod web -o jsonpath={.metadata.uid}")
    pod = kubectl("run web --image=i:v2 --dry-run=client -o yaml")
    assert "replaced" in kubectl("replace --force -f -", stdin=pod)
    assert kubectl("get pod web -o jsonpath={.metadata.uid}") != uid


def test_edit(kubectl: Tool) -> None:
    kubectl("create -f -", stdin=MAP)
    script = kubectl.file("editor", '#!/bin/sh\nexec sed -i "s/a: .1./a: \'7\'/" "$1"\n')
    script.chmod(0o755)
    assert "configmap/c edited" in kubectl("edit configmap c", EDITOR=str(script))
    assert kubectl("get configmap c -o jsonpath={.data.a}") == "7"
    assert "Edit cancelled, no changes made" in kubectl.run("edit configmap c", EDITOR="true").err
    bad = kubectl.file(
        "bad", '#!/bin/sh\ngrep -q invalid "$1" && exit 0\nexec sed -i \'s/^data:/data: {x: [1]}\\nbogus:/\' "$1"\n'
    )
    bad.chmod(0o755)
    assert kubectl.run("edit configmap c", EDITOR=str(bad)).status != 0
    kubectl("create deployment d --image=i:v1 --replicas=0")
    script.write_text("#!/bin/sh\nexec sed -i 's/image: i:v1/image: i:v2/' \"$1\"\n")
    assert "edited" in kubectl("edit deployment d", EDITOR=str(script))
    assert "edited" in kubectl("edit deployment d --subresource=status", EDITOR=str(kubectl_status(kubectl)))


def kubectl_status(kubectl: Tool) -> Path:
    """An editor that sets the number of replicas in the status."""
    script = kubectl.file("status", "#!/bin/sh\nexec sed -i 's/^status:.*/status:\\n  collisionCount: 3/' \"$1\"\n")
    script.chmod(0o755)
    return script


def test_kustomize(kubectl: Tool) -> None:
    kubectl.file("base/kustomization.yaml", "resources: [map.yaml]\nnamePrefix: x-\nlabels: [{pairs: {a: b}}]\n"
        "secretGenerator: [{name: s, literals: [k=v]}]\n")  # fmt: skip
    kubectl.file("base/map.yaml", MAP)
    assert kubectl("apply -k base").count("created") == 2
    assert kubectl("get configmap x-c -o jsonpath={.metadata.labels.a}") == "b"
    assert kubectl("apply -k base").count("unchanged") == 2
    assert kubectl("diff -k base") == ""
    assert kubectl("delete -k base").count("deleted") == 2


def test_several_files_and_lists(kubectl: Tool) -> None:
    kubectl.file("d/a.yaml", MAP)
    kubectl.file(
        "d/deep/b.json",
        '{"apiVersion":"v1","kind":"List","items":['
        '{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"b"}}]}',
    )
    assert kubectl("apply -R -f d").count("created") == 2
    assert kubectl("get -R -f d -o name") == "configmap/c\nserviceaccount/b\n"
    assert kubectl("delete -R -f d --wait=false").count("deleted") == 2
