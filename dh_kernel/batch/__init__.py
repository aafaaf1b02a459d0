"""Scripts and notebooks without a person: `dh-kernel run`, `dh-kernel serve`. A front end like any other.

    command        a command line -> an Order; options has the parser
    outcome        how a run ended, and its exit code
    app            Jupyter's run app around all this: its options and configuration files
    kernels        the kernel process, or one that runs already
    conversation   requests to the kernel and what it says
    runner         an Order's items in turn, limits and signals
    stdin          this process's standard input: answers to the code's questions, and scripts that come this way
    writing        bytes to stdout and stderr on a thread
    reports        what is written: text, one JSON object, JSON lines; schemas/ describes the latter two
    notebooks      nbclient around one notebook; parameters for it and for scripts in `parameters`
    saving         where an executed notebook goes

Neighbours: `cli` calls it, `install` has the kernelspec. Refuses to know how the kernel works: it speaks Jupyter's protocol,
with a few wishes in the metadata of its requests (see `dh_kernel.flow` and `dh_kernel.runtime.programs`).
"""
