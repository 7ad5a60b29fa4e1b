"""What a process has cost so far: taskstats, with pyroute2's codecs carried by this library.

Run as: python examples/taskstats.py [PID].
"""

import argparse
import os
import sys

from pyroute2.netlink.taskstats import taskstatsmsg, tcmd

from netlink_safe.blocking import KernelError, coded_request, open_generic

TASKSTATS_CMD_GET = 1


def main(pid: int) -> int:
    request = coded_request(
        "TASKSTATS",
        TASKSTATS_CMD_GET,
        {"TASKSTATS_CMD_ATTR_PID": pid},
        codec=tcmd,
        reply=taskstatsmsg,
        idempotent=True,
    )
    try:
        with open_generic() as genl:
            said = genl.request(request)
    except KernelError as error:
        print(error, file=sys.stderr)
        return 1
    if said is None:
        return 1
    told = said.get_attr("TASKSTATS_TYPE_AGGR_PID").get_attr("TASKSTATS_TYPE_STATS")
    print(f"{told['ac_comm'].rstrip(chr(0).encode()).decode()} ({told['ac_pid']})")
    print(f"processor        {told['cpu_run_real_total'] / 1e9:.3f} s")
    print(f"waited for it    {told['cpu_delay_total'] / 1e9:.3f} s, {told['cpu_count']} times")
    print(f"waited for disks {told['blkio_delay_total'] / 1e9:.3f} s")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("pid", type=int, nargs="?", default=os.getpid(), help="by default its own")
    sys.exit(main(parser.parse_args().pid))
