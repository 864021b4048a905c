"""Memory and processor time of a process and its descendants, read from /proc."""

import contextlib
import os
import pathlib
import signal
import time

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")

# Number of samples between two searches for new processes, which cost more than a sample.
_SCAN_EVERY = 5
# The kernel visits all pages to compute proportional sizes (15 ms per GB), so they are read only if
# the sum of the resident sizes is this many times the largest sum so far.
_NEW_PEAK = 1.01


class ProcessTree:
    """A process and its descendants.

    Attributes:
      peak_bytes: Peak of the resident memory so far. For one process, this is its resident set
        size. For several processes, it is the sum of their proportional set sizes, in which shared
        pages count once, or of their resident set sizes if the kernel does not report the former.
      measure: "rss" for one process, "pss" for several, or "sum of rss" if the kernel does not
        report proportional sizes.
    """

    def __init__(self, root: int) -> None:
        """Starts to watch a process.

        Args:
          root: Id of the process.
        """
        self.peak_bytes = 0
        self.measure = "rss"
        self._root = root
        self._members: dict[int, str] = {}
        self._samples = 0
        self._highest_sum = 0

    def sample(self) -> None:
        """Measures the current resident memory."""
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
        """Returns the processor time so far (user and system), in seconds."""
        self._scan()
        # The last two of the four fields count children that have ended.
        ticks = [_fields(pid)[11:15] for pid in self._members]
        return sum(int(field) for pair in ticks for field in pair) / _TICKS

    def end(self, patience: float = 5.0) -> None:
        """Ends all processes of the tree, also those that lost their parent.

        Args:
          patience: Seconds to wait after SIGTERM before SIGKILL.
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
        """Returns the members that still run: same id, same start time, and no zombies."""
        found = []
        for pid, started in self._members.items():
            fields = _fields(pid)
            if fields and fields[19] == started and fields[0] not in "ZX":
                found.append(pid)
        return found

    def _scan(self) -> None:
        """Finds new members. A process that lost its parent stays a member."""
        parents, starts = {}, {}
        for path in pathlib.Path("/proc").glob("[0-9]*"):
            if fields := _fields(int(path.name)):
                parents[int(path.name)], starts[int(path.name)] = int(fields[1]), fields[19]
        self._members = {p: s for p, s in self._members.items() if starts.get(p) == s}
        inside = {self._root, *self._members}
        # Repeat until nothing changes: parents do not always have smaller ids than their children.
        grown = True
        while grown:
            found = {pid for pid, parent in parents.items() if parent in inside} - inside
            inside |= found
            grown = bool(found)
        self._members |= {pid: starts[pid] for pid in inside if pid in starts}


def free_memory_share() -> float:
    """Returns the fraction of the machine's memory that is available without swapping."""
    lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    sizes = {
        name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)
    }
    return sizes["MemAvailable"] / sizes["MemTotal"]


def _read(pid: int, name: str) -> str:
    """Returns the text of a file in /proc. Empty if the process has ended or is not readable."""
    try:
        return pathlib.Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return ""


def _fields(pid: int) -> list[str]:
    """Returns the fields of /proc/<pid>/stat after the name. The first field is the state."""
    return _read(pid, "stat").rpartition(")")[2].split()


def _resident_bytes(pid: int) -> int:
    fields = _read(pid, "statm").split()
    return int(fields[1]) * _PAGE if fields else 0


def _proportional_bytes(pid: int) -> int | None:
    for line in _read(pid, "smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return None
