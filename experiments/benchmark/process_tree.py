"""Memory and processor time of a process and all that it started, read from /proc."""

import contextlib
import os
import pathlib
import signal
import time

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")

# Samples between two looks for new processes, which costs more than a sample.
_SCAN_EVERY = 5
# The kernel walks all pages to tell proportional sizes (15 ms per GB), so they are read only when
# the resident sizes add up to this much more than ever before.
_NEW_PEAK = 1.01


class ProcessTree:
    """A process and its descendants.

    Attributes:
      peak_bytes: The most resident memory at once so far. Of one process it is its resident set
        size; of several the sum of their proportional set sizes, in which pages that they share
        count once (their resident set sizes where the kernel does not tell).
      measure: "rss", "pss", or "sum of rss" where the kernel does not tell.
    """

    def __init__(self, root: int) -> None:
        """Begins to watch a process.

        Args:
          root: Its id.
        """
        self.peak_bytes = 0
        self.measure = "rss"
        self._root = root
        self._members: dict[int, str] = {}
        self._samples = 0
        self._highest_sum = 0

    def sample(self) -> None:
        """Notes the memory that is resident now."""
        if self._samples % _SCAN_EVERY == 0:
            self._scan()
        self._samples += 1
        sizes = [size for size in map(_resident_bytes, self._members) if size]
        total = sum(sizes)
        if len(sizes) > 1:
            if total < _NEW_PEAK * self._highest_sum:
                return
            self._highest_sum = total
            proportional = [_proportional_bytes(pid) for pid in self._members]
            known = [size for size in proportional if size is not None]
            self.measure = "pss" if known else "sum of rss"
            total = sum(known) if known else total
        self.peak_bytes = max(self.peak_bytes, total)

    def cpu_seconds(self) -> float:
        """Returns the processor time so far, user and system."""
        self._scan()
        # The last two of the four are those of children that ended.
        ticks = [_fields(pid)[11:15] for pid in self._members]
        return sum(int(field) for pair in ticks for field in pair) / _TICKS

    def end(self, patience: float = 5.0) -> None:
        """Ends all processes of the tree, also those that lost their parent.

        Args:
          patience: Seconds to wait before they are killed outright.
        """
        self._scan()
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self._living():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            deadline = time.monotonic() + patience
            while self._living() and time.monotonic() < deadline:
                time.sleep(0.02)

    def _living(self) -> list[int]:
        """Returns the members that still run: same id, same start, not just waited for."""
        found = []
        for pid, started in self._members.items():
            fields = _fields(pid)
            if fields and fields[19] == started and fields[0] not in "ZX":
                found.append(pid)
        return found

    def _scan(self) -> None:
        """Finds new members; one that lost its parent stays a member."""
        parents, starts = {}, {}
        for path in pathlib.Path("/proc").glob("[0-9]*"):
            if fields := _fields(int(path.name)):
                parents[int(path.name)], starts[int(path.name)] = int(fields[1]), fields[19]
        self._members = {p: s for p, s in self._members.items() if starts.get(p) == s}
        inside = {self._root, *self._members}
        # Parents are mostly older and have smaller ids, but ids start again from 1 at some point.
        grown = True
        while grown:
            found = {pid for pid, parent in parents.items() if parent in inside} - inside
            inside |= found
            grown = bool(found)
        self._members |= {pid: starts[pid] for pid in inside if pid in starts}


def free_memory_share() -> float:
    """Returns how much of the machine's memory could be had without swapping, from 0 to 1."""
    lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    sizes = {
        name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)
    }
    return sizes["MemAvailable"] / sizes["MemTotal"]


def _read(pid: int, name: str) -> str:
    """Returns a file of /proc, empty if the process is gone or not ours."""
    try:
        return pathlib.Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return ""


def _fields(pid: int) -> list[str]:
    """Returns the fields of /proc/<pid>/stat after the name, the state first."""
    return _read(pid, "stat").rpartition(")")[2].split()


def _resident_bytes(pid: int) -> int:
    fields = _read(pid, "statm").split()
    return int(fields[1]) * _PAGE if fields else 0


def _proportional_bytes(pid: int) -> int | None:
    for line in _read(pid, "smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return None
