"""kustomize builds every directory; the objects fit Kubernetes, the operator, the restricted profile, and each other."""

import copy
import json
import os
import re
import unittest
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import kubernetes_validate
import yaml

from common import DEPLOY, ENV, EXPORTER, ROOT, exporter, free_port, get, load, process, run, wait_for

KUBERNETES = DEPLOY / "kubernetes"
OPERATOR = "monitoring.coreos.com"

# The components have to be part of something before they can be built: what a user would write.
USES = {
    "access-control": {"resources": ["base"], "components": ["access-control"]},
    "base-datadog": {"resources": ["base"], "components": ["datadog"]},
    "sidecar-datadog": {"resources": ["examples/sidecar"], "components": ["datadog"]},
}


def build(directory):
    return [document for document in yaml.safe_load_all(run("kubectl", "kustomize", directory)) if document]


@cache
def overlays():
    """Every kustomization of the repository that stands alone, and every component in one."""
    built = {
        str(path.parent.relative_to(ROOT)): build(path.parent)
        for path in [*KUBERNETES.rglob("kustomization.yaml"), ROOT / "dashboards/kustomization.yaml"]
        if load(path)["kind"] == "Kustomization"
    }
    for name, parts in USES.items():
        directory = ENV / "overlays" / name
        directory.mkdir(parents=True, exist_ok=True)
        relative = {kind: [os.path.relpath(KUBERNETES / part, directory) for part in of] for kind, of in parts.items()}
        (directory / "kustomization.yaml").write_text(yaml.safe_dump({"kind": "Kustomization", **relative}))
        built[name] = build(directory)
    return built


def objects(overlay, kind):
    return [each for each in overlays()[overlay] if each["kind"] == kind]


def one(overlay, kind, name=None):
    found = [each for each in objects(overlay, kind) if name in (None, each["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} of {kind} {name or ''} in {overlay}"
    return found[0]


BASE = "deploy/kubernetes/base"
OPERATED = "deploy/kubernetes/prometheus-operator"
STAND_ALONE = "deploy/kubernetes/examples/stand-alone"
SIDECAR = "deploy/kubernetes/examples/sidecar"


def exporter_container(overlay, deployment):
    spec = one(overlay, "Deployment", deployment)["spec"]["template"]["spec"]
    return next(each for each in spec["containers"] if each["name"] == "mcp-exporter")


class Builds(unittest.TestCase):
    def test_every_directory_is_built(self):
        self.assertGreaterEqual(len(overlays()), 7, overlays().keys())
        for name, built in overlays().items():
            self.assertTrue(built, name)

    def test_every_component_is_part_of_something_built(self):
        overlays()
        used = {
            (path.parent / component).resolve()
            for path in [*KUBERNETES.rglob("kustomization.yaml"), *(ENV / "overlays").rglob("kustomization.yaml")]
            for component in load(path).get("components", [])
        }
        for path in KUBERNETES.rglob("kustomization.yaml"):
            if load(path)["kind"] == "Component":
                self.assertIn(path.parent.resolve(), used)


class Schemas(unittest.TestCase):
    @staticmethod
    def versions():
        """The oldest and the newest that the validator knows."""
        schemas = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
        known = {tuple(map(int, re.findall(r"\d+", each.name)[:3])) for each in schemas.glob("v*-strict")}
        return [".".join(map(str, version)) for version in (min(known), max(known))]

    def test_kubernetes_takes_every_object(self):
        seen = 0
        for version in self.versions():
            for overlay, built in overlays().items():
                for each in built:
                    if OPERATOR not in each["apiVersion"]:
                        with self.subTest(version=version, overlay=overlay, object=each["metadata"]["name"]):
                            kubernetes_validate.validate(each, version, strict=True)
                            seen += 1
        self.assertGreater(seen, 30)

    def test_a_wrong_object_is_noticed(self):
        broken = copy.deepcopy(one(BASE, "Deployment"))
        broken["spec"]["template"]["spec"]["containers"][0]["imagePolicy"] = "Always"
        for version in self.versions():
            with self.assertRaises(kubernetes_validate.ValidationError):
                kubernetes_validate.validate(broken, version, strict=True)

    def custom(self, found):
        """By the definitions made from the operator's own: values by their validators, unknown fields by the compiler."""
        package = "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1"
        work = ENV / "operator"
        work.mkdir(exist_ok=True)
        kinds = sorted({each["kind"] for each in found})
        lines = [f'import {{ {kind}, I{kind} }} from "{package}/{kind}";' for kind in kinds]
        lines += [
            f"const o{n}: I{each['kind']} = {json.dumps(each)};\nnew {each['kind']}(o{n}).validate();"
            for n, each in enumerate(found)
        ]
        (work / "objects.ts").write_text("\n".join(lines))
        tsc = ENV / "node_modules/.bin/tsc"
        options = ["--strict", "--skipLibCheck", "--target", "es2022", "--module", "nodenext"]
        (work / "package.json").write_text('{"type": "module"}')
        run(tsc, *options, "--outDir", work / "out", work / "objects.ts", cwd=work)
        (work / "out/package.json").write_text('{"type": "module"}')
        run("node", work / "out/objects.js", cwd=work)

    def test_the_operator_takes_its_objects(self):
        found = [each for each in overlays()[STAND_ALONE] if OPERATOR in each["apiVersion"]]
        self.assertEqual(sorted(each["kind"] for each in found), ["PodMonitor", "PrometheusRule", "PrometheusRule", "ServiceMonitor"])
        self.custom(found)
        for change, complaint in [({"interval": "10x"}, "pattern"), ({"intervall": "10s"}, "intervall")]:
            broken = copy.deepcopy(one(OPERATED, "PodMonitor"))
            broken["spec"]["podMetricsEndpoints"][0].update(change)
            with self.assertRaisesRegex(AssertionError, complaint):
                self.custom([broken])


def restricted(pod):
    """What the pod security standard `restricted` (with `baseline`, which it contains) has against a pod's spec."""
    of_pod = pod.get("securityContext", {})
    containers = [
        *pod["containers"], *pod.get("initContainers", []), *pod.get("ephemeralContainers", []),
    ]
    faults = []

    def check(fine, fault):
        if not fine:
            faults.append(fault)

    # Baseline.
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        check(not pod.get(field), field)
    allowed_sysctls = {
        "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    }
    check(all(each["name"] in allowed_sysctls for each in of_pod.get("sysctls", [])), "sysctls")
    for context in [of_pod, *(each.get("securityContext", {}) for each in containers)]:
        check(not context.get("windowsOptions", {}).get("hostProcess"), "hostProcess")
        linux = context.get("seLinuxOptions", {})
        check(linux.get("type", "") in ("", "container_t", "container_init_t", "container_kvm_t"), "seLinuxOptions.type")
        check(not linux.get("user") and not linux.get("role"), "seLinuxOptions")
        check(context.get("appArmorProfile", {}).get("type", "RuntimeDefault") in ("RuntimeDefault", "Localhost"), "appArmorProfile")
        # Restricted, where either level may say it.
        check(context.get("seccompProfile", {}).get("type", "RuntimeDefault") in ("RuntimeDefault", "Localhost"), "seccompProfile")
        check(context.get("runAsNonRoot", True) is True, "runAsNonRoot")
        check(context.get("runAsUser", 1) != 0, "runAsUser")
    for container in containers:
        context = container.get("securityContext", {})
        check(not context.get("privileged"), "privileged")
        check(context.get("procMount", "Default") == "Default", "procMount")
        check(not any(port.get("hostPort") for port in container.get("ports", [])), "hostPort")
        for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
            for how in ("httpGet", "tcpSocket"):
                check(not container.get(probe, {}).get(how, {}).get("host"), "probe.host")
        # Restricted.
        check(context.get("allowPrivilegeEscalation") is False, "allowPrivilegeEscalation")
        check("ALL" in context.get("capabilities", {}).get("drop", []), "capabilities.drop")
        check(set(context.get("capabilities", {}).get("add", [])) <= {"NET_BIND_SERVICE"}, "capabilities.add")
        check("runAsNonRoot" in {**of_pod, **context}, "runAsNonRoot")
        check("seccompProfile" in {**of_pod, **context}, "seccompProfile")
    allowed_volumes = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    for volume in pod.get("volumes", []):
        check(set(volume) - {"name"} <= allowed_volumes, "volumes")
    return faults


class Security(unittest.TestCase):
    def pods(self):
        for overlay, built in overlays().items():
            for each in built:
                if each["kind"] == "Deployment":
                    yield f"{overlay} {each['metadata']['name']}", each["spec"]["template"]["spec"]

    def test_every_pod_is_restricted(self):
        for name, pod in self.pods():
            with self.subTest(pod=name):
                self.assertEqual(restricted(pod), [])

    def test_the_sidecar_is_restricted_by_itself(self):
        """Beside a server whose pod says nothing about security."""
        for name in ("billing", "search"):
            self.assertEqual(restricted({"containers": [exporter_container(SIDECAR, name)]}), [])

    def test_each_field_of_the_profile_is_looked_at(self):
        pod = one(BASE, "Deployment")["spec"]["template"]["spec"]
        breaks = {
            "hostNetwork": lambda p, c: p.update(hostNetwork=True),
            "hostPID": lambda p, c: p.update(hostPID=True),
            "hostIPC": lambda p, c: p.update(hostIPC=True),
            "sysctls": lambda p, c: p["securityContext"].update(sysctls=[{"name": "kernel.msgmax", "value": "1"}]),
            "hostProcess": lambda p, c: c["securityContext"].update(windowsOptions={"hostProcess": True}),
            "seLinuxOptions": lambda p, c: c["securityContext"].update(seLinuxOptions={"user": "root"}),
            "seLinuxOptions.type": lambda p, c: c["securityContext"].update(seLinuxOptions={"type": "spc_t"}),
            "appArmorProfile": lambda p, c: c["securityContext"].update(appArmorProfile={"type": "Unconfined"}),
            "seccompProfile": lambda p, c: p["securityContext"].pop("seccompProfile"),
            "runAsNonRoot": lambda p, c: p["securityContext"].pop("runAsNonRoot"),
            "runAsUser": lambda p, c: c["securityContext"].update(runAsUser=0),
            "privileged": lambda p, c: c["securityContext"].update(privileged=True),
            "procMount": lambda p, c: c["securityContext"].update(procMount="Unmasked"),
            "hostPort": lambda p, c: c["ports"][0].update(hostPort=10627),
            "probe.host": lambda p, c: c.update(livenessProbe={"httpGet": {"host": "example.com", "port": 80}}),
            "allowPrivilegeEscalation": lambda p, c: c["securityContext"].pop("allowPrivilegeEscalation"),
            "capabilities.drop": lambda p, c: c["securityContext"]["capabilities"].pop("drop"),
            "capabilities.add": lambda p, c: c["securityContext"]["capabilities"].update(add=["NET_ADMIN"]),
            "volumes": lambda p, c: p["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
        }
        for fault, damage in breaks.items():
            with self.subTest(fault):
                broken = copy.deepcopy(pod)
                damage(broken, broken["containers"][0])
                self.assertEqual(restricted(broken), [fault])

    def test_beyond_the_profile(self):
        for overlay, deployment in [(BASE, "mcp-exporter"), (SIDECAR, "billing"), (SIDECAR, "search")]:
            container = exporter_container(overlay, deployment)
            self.assertIs(container["securityContext"]["readOnlyRootFilesystem"], True)
            self.assertNotIn("cpu", container["resources"]["limits"], "throttling looks like slow servers")
            self.assertIn("memory", container["resources"]["limits"])
            self.assertEqual(set(container["resources"]["requests"]), {"cpu", "memory"})
            self.assertRegex(container["image"], r"^ghcr\.io/mcp-exporter/mcp-exporter:\d+\.\d+\.\d+$")

    def test_the_version_is_the_programs_own(self):
        version = re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.M)[1]
        for path in KUBERNETES.rglob("kustomization.yaml"):
            for image in load(path).get("images", []):
                self.assertEqual(image["newTag"], version, path)
        self.assertIn(f"MCP_EXPORTER_VERSION:-{version}}}", (DEPLOY / "compose.yaml").read_text())


class StandAlone(unittest.TestCase):
    def test_a_rollout_leaves_no_gap(self):
        spec = one(BASE, "Deployment")["spec"]
        self.assertEqual(spec["replicas"], 1)
        self.assertEqual(spec["strategy"]["rollingUpdate"], {"maxSurge": 1, "maxUnavailable": 0})
        self.assertGreaterEqual(spec["minReadySeconds"], 10)
        self.assertGreater(spec["template"]["spec"]["terminationGracePeriodSeconds"], 10, "it may take ten seconds to stop")

    def test_the_configuration_is_mounted_by_the_hash_of_its_content(self):
        for overlay in (BASE, STAND_ALONE):
            config = next(each for each in objects(overlay, "ConfigMap") if "mcp-exporter.yaml" in each["data"])
            self.assertRegex(config["metadata"]["name"], r"^mcp-exporter-[a-z0-9]{10}$")
            pod = one(overlay, "Deployment")["spec"]["template"]["spec"]
            self.assertEqual(pod["volumes"][0]["configMap"]["name"], config["metadata"]["name"])

    def test_the_exporter_takes_the_configuration(self):
        for path in KUBERNETES.rglob("mcp-exporter.yaml"):
            self.assertRegex(run(EXPORTER, "check-config", path), r"valid, \d server")

    def test_there_is_no_token(self):
        self.assertIs(one(BASE, "ServiceAccount")["automountServiceAccountToken"], False)
        self.assertIs(one(BASE, "Deployment")["spec"]["template"]["spec"]["automountServiceAccountToken"], False)

    def test_selectors_meet_the_pod(self):
        labels = one(BASE, "Deployment")["spec"]["template"]["metadata"]["labels"]
        for selector in (
            one(BASE, "Service")["spec"]["selector"],
            one(BASE, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
            one(BASE, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
            one(OPERATED, "ServiceMonitor")["spec"]["selector"]["matchLabels"],
        ):
            self.assertTrue(selector)
            self.assertLessEqual(selector.items(), labels.items())
        self.assertEqual(one(BASE, "PodDisruptionBudget")["spec"]["maxUnavailable"], 1)

    def test_the_network_policy(self):
        spec = one(BASE, "NetworkPolicy")["spec"]
        self.assertEqual(spec["policyTypes"], ["Ingress", "Egress"])
        self.assertEqual(spec["ingress"], [{
            "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
            "ports": [{"protocol": "TCP", "port": 10627}],
        }])
        blocks = [peer["ipBlock"] for rule in spec["egress"] for peer in rule.get("to", []) if "ipBlock" in peer]
        self.assertEqual({block["cidr"] for block in blocks}, {"0.0.0.0/0", "::/0"})
        self.assertIn("169.254.169.254/32", blocks[0]["except"])

    def test_probes_work_under_tls_and_authentication(self):
        """By command, with nothing on the command line: what it needs to know must be in the variables."""
        container = exporter_container(BASE, "mcp-exporter")
        self.assertNotIn("args", container)
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            self.assertEqual(container[probe]["exec"]["command"], ["/usr/local/bin/mcp-exporter", "healthcheck"])
            self.assertGreater(container[probe]["timeoutSeconds"], 3, "its own time limit")


    def test_access_control_comes_from_a_secret(self):
        container = exporter_container("access-control", "mcp-exporter")
        variable = next(each for each in container["env"] if "WEB_CONFIG" in each["name"])
        self.assertIn(f"[env: {variable['name']}]", run(EXPORTER, "--help"))
        mount = next(each for each in container["volumeMounts"] if variable["value"].startswith(each["mountPath"] + "/"))
        self.assertNotIn("subPath", mount)
        pod = one("access-control", "Deployment")["spec"]["template"]["spec"]
        secret = next(each["secret"] for each in pod["volumes"] if each["name"] == mount["name"])
        # Readable through the pod's group, and for nobody else.
        self.assertEqual((secret["defaultMode"], "fsGroup" in pod["securityContext"]), (0o440, True))
        says = (KUBERNETES / "access-control/kustomization.yaml").read_text()
        self.assertIn(f"secret generic {secret['secretName']} ", says)
        self.assertIn(f"--from-file={Path(variable['value']).name} ", says)


class Sidecar(unittest.TestCase):
    def test_the_server_stays_the_first_container(self):
        for name in ("billing", "search"):
            template = one(SIDECAR, "Deployment", name)["spec"]["template"]
            self.assertEqual([each["name"] for each in template["spec"]["containers"]], ["server", "mcp-exporter"])
            self.assertEqual(template["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"], "server")
            self.assertNotIn("initContainers", template["spec"])

    def test_nothing_in_it_can_take_the_server_out_of_its_service(self):
        for name in ("billing", "search"):
            container = exporter_container(SIDECAR, name)
            self.assertNotIn("readinessProbe", container)
            self.assertNotIn("startupProbe", container)
            self.assertEqual(container["livenessProbe"]["exec"]["command"][-1], "healthcheck")
            self.assertEqual(container["ports"], [{"name": "mcp-metrics", "containerPort": 10627}])
        self.assertEqual(objects(SIDECAR, "ConfigMap"), [])
        self.assertEqual(objects(SIDECAR, "NetworkPolicy"), [])

    def test_the_variants_differ_where_they_must(self):
        loopback, unix = exporter_container(SIDECAR, "billing"), exporter_container(SIDECAR, "search")
        self.assertEqual(loopback["args"], ["--target=$(MCP_SERVER)=http://localhost:8000/mcp"])
        self.assertEqual(unix["args"], ["--target=$(MCP_SERVER)=unix:///run/mcp/mcp.sock:/mcp"])
        same = set(loopback) - {"args"}
        self.assertEqual({key: unix[key] for key in same}, {key: loopback[key] for key in same})
        self.assertEqual(set(unix) - set(loopback), {"volumeMounts"})

    def test_the_socket_is_shared(self):
        pod = one(SIDECAR, "Deployment", "search")["spec"]["template"]["spec"]
        self.assertEqual([each["volumeMounts"] for each in pod["containers"]], [[{"name": "mcp-socket", "mountPath": "/run/mcp"}]] * 2)
        self.assertEqual(pod["volumes"], [{"name": "mcp-socket", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}])
        self.assertEqual(pod["securityContext"]["fsGroup"], 65532)
        self.assertIs(pod["securityContext"]["runAsNonRoot"], True, "the server's own settings are kept")

    def test_deployments_without_the_label_are_left_alone(self):
        directory = ENV / "overlays" / "unlabelled"
        directory.mkdir(parents=True, exist_ok=True)
        server = load(KUBERNETES / "examples/sidecar/billing.yaml")
        del server["metadata"]["labels"]["mcp-exporter/sidecar"]
        (directory / "billing.yaml").write_text(yaml.safe_dump(server))
        parts = [os.path.relpath(KUBERNETES / "sidecar" / each, directory) for each in ("loopback", "unix")]
        (directory / "kustomization.yaml").write_text(yaml.safe_dump({"kind": "Kustomization", "resources": ["billing.yaml"], "components": parts}))
        self.assertEqual(build(directory), [server])

    def test_it_reads_its_server(self):
        """With the arguments as the kubelet gives them, but for the port and the place of the socket, on real servers."""
        port, place = free_port(), TemporaryDirectory()
        self.addCleanup(place.cleanup)
        socket = f"{place.name}/mcp.sock"
        serve = "import server, sys, uvicorn; uvicorn.run(server.mcp.http_app(), **({sys.argv[1]: eval(sys.argv[2])}))"
        cases = [
            ("billing", ("port", str(port)), ("localhost:8000", f"localhost:{port}")),
            ("search", ("uds", repr(socket)), ("/run/mcp/mcp.sock", socket)),
        ]
        for name, listen, moved in cases:
            pod = one(SIDECAR, "Deployment", name)["spec"]["template"]
            container = exporter_container(SIDECAR, name)
            label = re.fullmatch(r"metadata\.labels\['(.*)'\]", container["env"][0]["valueFrom"]["fieldRef"]["fieldPath"])[1]
            arguments = [
                each.replace("$(MCP_SERVER)", pod["metadata"]["labels"][label]).replace(*moved) for each in container["args"]
            ]
            python = ENV / "demo-server/bin/python"
            with self.subTest(name), exporter(*arguments) as url:
                wait_for(lambda: f'mcp_poll_failure_reason{{server="{name}",reason="connect"}} 1' in get(f"{url}/metrics"))
                with process(python, "-c", serve, *listen, cwd=DEPLOY / "compose/demo-server"):
                    wait_for(lambda: f'mcp_health_status{{server="{name}"}} 1' in get(f"{url}/metrics"), 60)


class Operator(unittest.TestCase):
    def relabelled(self, monitor, key, discovered):
        """What the relabelings make of a target's labels; only the actions that are used."""
        labels = dict(discovered)
        for rule in monitor["spec"][key][0]["relabelings"]:
            if rule["action"] == "replace":
                labels[rule["targetLabel"]] = rule["replacement"]
            elif rule["action"] == "labeldrop":
                labels = {name: value for name, value in labels.items() if not re.fullmatch(rule["regex"], name)}
            else:
                self.fail(rule)
        return labels

    # What the operator gives a target before these rules run.
    DISCOVERED = {"job": "x", "instance": "i", "namespace": "n", "pod": "p", "container": "c", "endpoint": "e"}

    def test_jobs_are_those_of_the_rules(self):
        monitor = one(OPERATED, "ServiceMonitor")
        labels = self.relabelled(monitor, "endpoints", {**self.DISCOVERED, "service": "s"})
        self.assertEqual(labels, {"job": "mcp-exporter", "instance": "i", "namespace": "n"})
        monitor = one(OPERATED, "PodMonitor")
        labels = self.relabelled(monitor, "podMetricsEndpoints", self.DISCOVERED)
        self.assertEqual(labels, {"job": "mcp-exporter-sidecar", "instance": "i", "namespace": "n", "pod": "p"})

    def test_ports_and_labels_are_those_of_the_exporter(self):
        self.assertEqual(one(OPERATED, "ServiceMonitor")["spec"]["endpoints"][0]["port"], one(BASE, "Service")["spec"]["ports"][0]["name"])
        monitor = one(OPERATED, "PodMonitor")["spec"]
        self.assertEqual(monitor["podMetricsEndpoints"][0]["port"], exporter_container(SIDECAR, "billing")["ports"][0]["name"])
        for name in ("billing", "search"):
            labels = one(SIDECAR, "Deployment", name)["spec"]["template"]["metadata"]["labels"]
            self.assertIn(monitor["selector"]["matchExpressions"][0]["key"], labels)

    def test_the_rules_are_those_of_alerts(self):
        def groups(*files):
            return [group for file in files for group in load(ROOT / "alerts" / file)["groups"]]

        self.assertEqual(one(OPERATED, "PrometheusRule")["spec"]["groups"], groups("recording.yml", "alerts.yml"))
        self.assertEqual(one(STAND_ALONE, "PrometheusRule", "mcp-exporter-stand-alone")["spec"]["groups"], groups("standalone.yml"))

    def test_no_second_copy_is_kept(self):
        kept = run("git", "ls-files", "deploy", cwd=ROOT).split()
        self.assertFalse([each for each in kept if each.endswith("rules.yaml")])
        for source in [*(ROOT / "dashboards").glob("*.json"), *(ROOT / "alerts").glob("*.yml")]:
            for each in kept:
                if (ROOT / each).is_file():
                    self.assertNotEqual((ROOT / each).read_bytes(), source.read_bytes(), f"{each} is a copy of {source}")

    def test_the_dashboards_are_those_of_the_repository(self):
        made = {name: text for each in objects(OPERATED, "ConfigMap") for name, text in each["data"].items()}
        self.assertEqual(made, {path.name: path.read_text() for path in (ROOT / "dashboards").glob("*.json")})
        for each in objects(OPERATED, "ConfigMap"):
            self.assertEqual(each["metadata"]["labels"]["grafana_dashboard"], "1")
            # A ConfigMap of 256 KiB and more could not be applied by `kubectl apply` without --server-side.
            self.assertLess(len(json.dumps(each)), 250_000, each["metadata"]["name"])

    def test_one_patch_gives_the_release_label(self):
        found = [each for each in overlays()[STAND_ALONE] if OPERATOR in each["apiVersion"]]
        self.assertEqual({each["metadata"]["labels"]["release"] for each in found}, {"kube-prometheus-stack"})
        places = [path for path in KUBERNETES.rglob("*.yaml") if "kube-prometheus-stack" in re.sub(r"#.*", "", path.read_text())]
        self.assertEqual(places, [KUBERNETES / "prometheus-operator/release/kustomization.yaml"])
        self.assertEqual({each["metadata"]["namespace"] for each in found}, {"monitoring"})


class Datadog(unittest.TestCase):
    def test_the_annotation_says_what_the_agents_file_says(self):
        wanted = load(DEPLOY / "datadog/conf.yaml")["instances"]
        wanted[0]["openmetrics_endpoint"] = "http://%%host%%:10627/metrics"
        for overlay, names in (("base-datadog", ["mcp-exporter"]), ("sidecar-datadog", ["billing", "search"])):
            for name in names:
                annotations = one(overlay, "Deployment", name)["spec"]["template"]["metadata"]["annotations"]
                self.assertIn("kubectl.kubernetes.io/default-container", annotations)
                check = json.loads(annotations["ad.datadoghq.com/mcp-exporter.checks"])
                self.assertEqual(check, {"openmetrics": {"init_config": {}, "instances": wanted}})
