"""`kubectl create …` of every generator, `run` and `expose`: kubectl makes the object, the server takes it as it is."""

from __future__ import annotations

from octoedge.testing.kubectl import Tool

MADE = {
    "configmap c --from-literal=a=1 --from-literal=b=2": ("configmap/c", "{.data}", '{"a":"1","b":"2"}'),
    "secret generic s --from-literal=k=v": ("secret/s", "{.data.k} {.type}", "dg== Opaque"),
    "secret docker-registry r --docker-server=r.io --docker-username=u --docker-password=p": (
        "secret/r", "{.type}", "kubernetes.io/dockerconfigjson",
    ),
    "deployment d --image=i:v1 --replicas=0 --port=80": (
        "deployment/d", "{.spec.replicas} {.spec.template.spec.containers[0].ports[0].containerPort}", "0 80",
    ),
    "serviceaccount a": ("serviceaccount/a", "{.metadata.name}", "a"),
    "service clusterip s --tcp=80:8080": ("service/s", "{.spec.ports[0].targetPort} {.spec.type}", "8080 ClusterIP"),
    "service clusterip h --tcp=80 --clusterip=None": ("service/h", "{.spec.clusterIP}", "None"),
    "service nodeport n --tcp=80": ("service/n", "{.spec.type}", "NodePort"),
    "service loadbalancer l --tcp=80": ("service/l", "{.spec.type}", "LoadBalancer"),
    "service externalname e --external-name=example.com": ("service/e", "{.spec.externalName}", "example.com"),
    "job j --image=i:v1 -- never": ("job/j", "{.spec.template.spec.restartPolicy} {.spec.backoffLimit}", "Never 6"),
    "cronjob j --image=i:v1 --schedule='*/5 * * * *' -- true": ("cronjob/j", "{.spec.schedule}", "*/5 * * * *"),
    "role r --verb=get,list --resource=pods,pods/log": ("role/r", "{.rules[0].resources}", '["pods","pods/log"]'),
    "rolebinding b --clusterrole=view --user=ann": ("rolebinding/b", "{.subjects[0].name} {.roleRef.name}", "ann view"),
    "quota q --hard=pods=10,cpu=4": ("quota/q", "{.spec.hard}", '{"cpu":"4","pods":"10"}'),
    "poddisruptionbudget p --selector=a=b --min-available=1": ("pdb/p", "{.spec.minAvailable}", "1"),
    "ingress i --rule=example.com/=s:80": ("ingress/i", "{.spec.rules[0].http.paths[0].backend.service.name}", "s"),
}  # fmt: skip


def test_every_generator(kubectl: Tool) -> None:
    for line, (name, path, shown) in MADE.items():
        assert kubectl(f"create {line}").split()[-1] == "created", line
        assert kubectl(f"get {name} -o jsonpath='{path}'") == shown, line
        assert kubectl(f"describe {name}")


CLUSTER = {
    "namespace {}": "namespace/{}",
    "clusterrole {} --verb=get --resource=nodes": "clusterrole/{}",
    "clusterrolebinding {} --clusterrole=view --group=g": "clusterrolebinding/{}",
    "priorityclass {} --value=1000 --description=important": "priorityclass/{}",
}


def test_generators_of_cluster_objects(kubectl: Tool) -> None:
    own = f"{kubectl.namespace}-x"
    for line, name in CLUSTER.items():
        assert "created" in kubectl(f"create {line.format(own)}")
        assert kubectl(f"describe {name.format(own)}")
        assert "already exists" in kubectl.refused(f"create {line.format(own)}")
        assert "deleted" in kubectl(f"delete {name.format(own)}")


def test_dry_runs_store_nothing(kubectl: Tool) -> None:
    for where in ("client", "server"):
        assert "dry run" in kubectl(f"create configmap c --from-literal=a=1 --dry-run={where}")
        made = kubectl(f"create deployment d --image=i:v1 --dry-run={where} -o yaml")
        assert ("uid:" in made) == (where == "server")
        assert "dry run" in kubectl(f"run p --image=i:v1 --dry-run={where}")
    assert "not found" in kubectl.refused("get deployment d")


def test_tokens_of_service_accounts(kubectl: Tool) -> None:
    kubectl("create serviceaccount robot")
    token = kubectl("create token robot --duration=20m --audience=https://somewhere").strip()
    assert token.count(".") == 2
    config = kubectl.get("configmap kube-root-ca.crt")["data"]["ca.crt"]
    kubectl.file("ca.crt", config)
    server = kubectl("config view -o jsonpath={.clusters[0].cluster.server}")
    alone = f"--kubeconfig=/dev/null --server={server} --certificate-authority=ca.crt"
    token = kubectl("create token robot").strip()
    said = kubectl(f"{alone} --token={token} auth whoami -o jsonpath={{.status.userInfo.username}}")
    assert said == f"system:serviceaccount:{kubectl.namespace}:robot"
    assert "cannot list resource" in kubectl.refused(f"{alone} --token={token} get pods -n {kubectl.namespace}")
    assert "You must be logged in" in kubectl.refused(f"{alone} --token=nonsense get pods")
    assert "may not specify a duration less than 10 minutes" in kubectl.refused("create token robot --duration=10s")
    assert 'serviceaccounts "nobody" not found' in kubectl.refused("create token nobody")


def test_run_and_expose(kubectl: Tool) -> None:
    assert kubectl("run web --image=nginx:1.25 --port=80 --labels=app=web --env=A=b") == "pod/web created\n"
    assert kubectl("wait --for=condition=Ready pod/web --timeout=20s") == "pod/web condition met\n"
    assert kubectl("expose pod web --port=80 --name=front") == "service/front exposed\n"
    assert kubectl("get service front -o jsonpath='{.spec.selector}'") == '{"app":"web"}'
    kubectl("wait --for=jsonpath='{.subsets[0].addresses[0].ip}'=10.9.0.7 endpoints/front --timeout=20s")
    kubectl("create deployment d --image=i:v1 --replicas=2")
    assert "exposed" in kubectl("expose deployment d --port=80 --target-port=8080 --type=NodePort")
    assert "already exists" in kubectl.refused("expose deployment d --port=80")
    assert "AlreadyExists" in kubectl.refused("run web --image=other")


WRONG = {
    "{": "error parsing",
    "kind: Pod": "apiVersion not set",
    "# Nothing\n{apiVersion: v1, kind: Nothing, metadata: {name: x}}": 'no matches for kind "Nothing" in version "v1"',
    "# ConfigMap\n{metadata: {name: BAD}}": "a lowercase RFC 1123 subdomain must consist of",
    "# ConfigMap\n{metadata: {}}": "name or generateName is required",
    "# ConfigMap\n{metadata: {name: x}, bogus: 1}": 'unknown field "bogus"',
    "# ConfigMap\n{metadata: {name: x}, data: {a: 1}}": "cannot unmarshal number into Go struct",
    "# ConfigMap\n{metadata: {name: x, namespace: other}}": "does not match the namespace",
    "# ConfigMap\n{metadata: {name: x, labels: {a: b c}}}": "a valid label must be an empty string",
    "# Pod\n{metadata: {name: x}, spec: {}}": "spec.containers: Required value",
    "# Pod\n{metadata: {name: x}, spec: {containers: [&c {name: c, image: i}, *c]}}": 'Duplicate value: "c"',
}


def test_what_is_wrong_is_said_as_users_know_it(kubectl: Tool) -> None:
    for text, said in WRONG.items():
        kind, _, body = text.removeprefix("# ").partition("\n{")
        whole = f"# {kind}\n{{apiVersion: v1, kind: {kind}, {body}" if body and "kind:" not in body else text
        assert said in kubectl.refused(f"create -n {kubectl.namespace} -f -", stdin=whole), whole
