"""What comes before all else in a script; import it first.

From here on a signal is no stack trace, temporary files go with the program, and libraries find a
home directory even where the system has none. Where the main module is no script of this folder,
as in tests, nothing happens.
"""

import os
import sys

from experiments import signals


def _is_script() -> bool:
    main = getattr(sys.modules["__main__"], "__file__", None) or ""
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 (as light as can be)
    return os.path.dirname(os.path.abspath(main)) == here  # noqa: PTH100, PTH120


def _begin() -> None:
    signals.end_at_once()
    import io

    from experiments import paths, temporary_folder

    try:
        folder = temporary_folder.open_private()
    except OSError as error:
        program = os.path.basename(sys.argv[0])  # noqa: PTH119
        print(f"{program}: no place for temporary files ({error}); set TMPDIR", file=sys.stderr)
        sys.exit(2)
    home = paths.home()
    if home is None or not os.access(home, os.W_OK | os.X_OK):
        # Keras, matplotlib and others want to write there, or fail where there is none.
        os.environ[paths.STATED_HOME] = os.environ.get("HOME", "")
        os.environ["HOME"] = str(folder / "home")
        os.mkdir(os.environ["HOME"], 0o700)  # noqa: PTH102
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # A terminal's encoding may lack some letters.
            stream.reconfigure(errors="backslashreplace")


if _is_script():
    _begin()
