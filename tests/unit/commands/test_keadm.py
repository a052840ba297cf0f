"""keadm's command line: KubeEdge's flags, and a sentence for what it does not know."""

from __future__ import annotations

import pytest

from octoedge.commands import keadm

JOIN = ("join", "-e", "192.0.2.1:10000")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ((*JOIN, "--no-such"), "there is no flag or word --no-such"),
        ((*JOIN, "--tok=a"), "there is no flag or word --tok=a"),
        (("join",), "are required: -e/--cloudcore-ipport"),
        (("fly",), "invalid choice: 'fly'"),
        (("upgrade", "edge"), "`keadm upgrade` is KubeEdge's, and not implemented here"),
        (("ctl",), "`keadm ctl` is KubeEdge's"),
        ((*JOIN, "--cgroupdriver=other"), "invalid choice: 'other'"),
        ((*JOIN, "--hub-protocol=quic"), "QUIC is not implemented"),
        (("init", "--force=maybe"), "true or false is wanted, not 'maybe'"),
        (("init", "--manifests=x"), "`kubectl apply -f` does the same"),
        ((*JOIN, "-l", "zone"), "KEY=VALUE,… is wanted"),
        (("join", "-e", "nowhere"), "HOST:PORT is wanted"),
    ],
)
def test_what_is_not_known_is_a_sentence(
    capsys: pytest.CaptureFixture[str], line: tuple[str, ...], sentence: str
) -> None:
    assert keadm.main(line) == 1
    said = capsys.readouterr().err
    assert said.startswith("keadm: ")
    assert sentence in said
    assert "Traceback" not in said


FLAGS = {
    "init": """kubeedge-version advertise-address kube-config set profile external-helm-root manifests files
        image-repository dry-run force""",
    "join": """cloudcore-ipport edgenode-name token certport kubeedge-version remote-runtime-endpoint cgroupdriver
        certPath labels hub-protocol set image-repository tarballpath pre-run post-run""",
    "gettoken": "kube-config",
    "reset": "kube-config force remote-runtime-endpoint pre-run post-run",
}
"""KubeEdge's, by command."""


@pytest.mark.parametrize("command", FLAGS)
def test_every_flag_of_kubeedges_is_known(capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit):
        keadm.main([command, "--help"])
    words = capsys.readouterr().out
    assert [flag for flag in FLAGS[command].split() if f"--{flag}" not in words] == []
