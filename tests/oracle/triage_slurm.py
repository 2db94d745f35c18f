#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""vdisk-triage by Debian's Slurm: a controller and two nodes of our own on loopback, one of which dies in the middle."""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time
import unittest

import harness
import triage_case
import tsk
from harness import outcome, run

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")
NODES = ("node-a", "node-b")
IMAGES = 40
PATIENCE = 400


def setUpModule():
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    tsk.require_plugin()
    if tsk.sanitized():
        raise unittest.SkipTest("a sanitized plugin can't be loaded by the launcher")
    if os.geteuid() != 0:
        raise unittest.SkipTest("slurmd needs root")
    if not all(map(harness.have, PROGRAMS)):
        raise unittest.SkipTest("needs " + ", ".join(PROGRAMS))


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def processes():
    """{pid: environment as bytes} of all processes."""
    found = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            found[int(folder.name)] = (folder / "environ").read_bytes()
        except OSError:
            continue
    return found


def parent_of(pid):
    return int(re.search(r"^PPid:\s*(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.MULTILINE).group(1))


def end(pid, how=signal.SIGKILL):
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        pass


class Cluster:
    """munged, slurmctld and a slurmd for each node, all with their files in one folder."""

    def __init__(self, folder):
        self.folder, self.started = folder, {}
        self.conf = folder / "slurm.conf"
        (folder / "munge").mkdir(parents=True)
        for name in ("state", *NODES):
            (folder / name).mkdir()
        self.write_configuration()

    def write_configuration(self):
        ports = free_ports(1 + len(NODES))
        here = socket.gethostname()
        nodes = "".join(f"NodeName={name} NodeHostname={here} NodeAddr=127.0.0.1 Port={port} CPUs=1 RealMemory=500\n" for name, port in zip(NODES, ports[1:]))
        self.conf.write_text(f"""ClusterName=triage
SlurmctldHost={here}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={self.folder}/munge/socket,cred_expire=5
CryptoType=crypto/munge
CredType=cred/munge
StateSaveLocation={self.folder}/state
SlurmdSpoolDir={self.folder}/%n
SlurmctldPidFile={self.folder}/slurmctld.pid
SlurmdPidFile={self.folder}/%n/pid
SlurmctldLogFile={self.folder}/slurmctld.log
SlurmdLogFile={self.folder}/%n/log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
SlurmdTimeout=10
KillWait=2
JobRequeue=1
MaxArraySize=31
{nodes}PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
""")

        # No plugin above uses cgroups, but slurmd does not start without a place for them, which containers need not have.
        (self.folder / "cgroup.conf").write_text(f"CgroupPlugin=cgroup/v1\nCgroupMountpoint={self.folder}/cgroups\n")

    @property
    def environment(self):
        return {"SLURM_CONF": str(self.conf)}

    def start(self, name, *command):
        log = open(self.folder / f"{name}.out", "wb")
        self.started[name] = subprocess.Popen(command, env=dict(os.environ, **self.environment), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()

    def __enter__(self):
        key = self.folder / "munge" / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "seed-file": "seed", "log-file": "log"}
        self.start("munged", "munged", "--foreground", "--force", *(f"--{what}={self.folder}/munge/{name}" for what, name in files.items()))
        self.wait_for(lambda: (self.folder / "munge/socket").exists() or self.started["munged"].poll() is not None, "munged")
        self.start("slurmctld", "slurmctld", "-D", "-f", str(self.conf))
        for name in NODES:
            self.start(name, "slurmd", "-D", "-N", name, "-f", str(self.conf))
        self.wait_for(self.is_up, "the nodes")
        return self

    def is_up(self):
        """Whether the nodes wait for work; skips the test on a machine where a daemon does not start."""
        for name, process in self.started.items():
            if process.poll() is not None:
                files = [self.folder / name / "log", self.folder / f"{name}.log", self.folder / f"{name}.out"]
                told = [line for file in files if file.exists() for line in file.read_text(errors="replace").splitlines() if "error" in line]
                self.end()
                raise unittest.SkipTest(f"{name} does not start here: {'; '.join(told[-3:])}")
        return self.say("sinfo", "-h", "-t", "idle", "-o", "%D").strip() == str(len(NODES))

    def __exit__(self, *_):
        self.end()

    def end(self):
        for name in (*NODES, "slurmctld", "munged"):
            if name in self.started:
                self.started[name].terminate()
        for process in self.started.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pid in self.of_jobs():
            end(pid)

    def say(self, *command):
        return outcome(*command, env=dict(os.environ, **self.environment))[1].decode()

    def wait_for(self, condition, what):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"waited in vain for {what}\n{self.say('squeue')}\n{self.say('sinfo')}\n{self.logs()}")
            time.sleep(0.05)

    def logs(self):
        files = [*self.folder.glob("*.out"), *self.folder.glob("*.log"), *self.folder.glob("node-*/log")]
        return "\n".join(f"{file}: {file.read_text(errors='replace')[-2000:]}" for file in files)

    def of_jobs(self, node=""):
        """The processes of this cluster's jobs, on one node."""
        wanted = f"SLURM_CONF={self.conf}".encode(), f"SLURMD_NODENAME={node}".encode()
        return [pid for pid, environment in processes().items() if all(each in environment for each in wanted)]

    def kill_node(self, name):
        """What a power cut does: the daemon, its steps and their processes are gone without a word."""
        self.started[name].kill()
        jobs = self.of_jobs(name)
        steps = {parent_of(pid) for pid in jobs} - set(jobs) - {1}
        for pid in (*steps, *jobs):
            end(pid)

    def is_done(self):
        """Whether no job runs or waits; a controller that does not answer is not done."""
        status, jobs, _ = outcome("squeue", "-h", "-r", env=dict(os.environ, **self.environment))
        return status == 0 and not jobs.strip()


class TriageBySlurm(harness.FolderTest):
    def test_a_node_dies_and_the_result_is_that_of_a_local_run(self):
        environment = triage_case.environment(self.folder)
        (self.folder / "case").mkdir()
        manifest = triage_case.make_manifest(self.folder / "case", IMAGES, self.random)
        with Cluster(self.folder / "cluster") as cluster:
            environment.update(cluster.environment)
            results = self.folder / "results"
            said = run(triage_case.DRIVER, "run", "--slurm", manifest, results, env=environment).decode()
            self.assertRegex(said, f"{IMAGES} images, {IMAGES} disks\narrays: [0-9]+ [0-9]+; the last step is job [0-9]+\n")
            self.kill_in_the_middle(cluster, results)
            cluster.wait_for(cluster.is_done, "all jobs")
            log = (cluster.folder / "slurmctld.log").read_text()
            self.assertRegex(log, f"requeue job .* due to failure of node {NODES[0]}")
            self.assertEqual((results / "log/merge").read_text(), f"{IMAGES} disks: {IMAGES} complete, 0 partial, 0 failed, 0 not done\n")
            hosts = [json.loads(path.read_text())["slurm_job"] for path in results.glob("disks/*/run.json")]
            self.assertEqual((len(hosts), None in hosts), (IMAGES, False))
        local = self.folder / "local"
        run(triage_case.DRIVER, "run", "--local", "-j", 2, manifest, local, env=environment)
        self.assertEqual(triage_case.content(results), triage_case.content(local))

    def kill_in_the_middle(self, cluster, results):
        """Kills a node while it is at work on a disk and some, but not all, are done."""
        def at_work():
            """Whether a task of the node is held in the middle of its work."""
            if len(list(results.glob("disks/*/found.json"))) < 5:
                return False
            jobs = cluster.of_jobs(NODES[0])
            for path in results.glob("disks/.*.partial"):
                pid = int(path.name.split(".")[-3])
                if pid in jobs:
                    end(pid, signal.SIGSTOP)
                    if path.exists():
                        return True
                    end(pid, signal.SIGCONT)
            return False

        cluster.wait_for(at_work, "a node to be at work")
        cluster.kill_node(NODES[0])
        self.assertLess(len(list(results.glob("disks/*/found.json"))), IMAGES)


if __name__ == "__main__":
    harness.main()
