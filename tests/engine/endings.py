"""Join and leave a process group of one many times: `python -m tests.engine.endings TIMES`.

At each end a gloo thread still holds a tensor that only it knows, and a wrapped model in a
reference cycle holds the group.
"""

import faulthandler
import os
import sys

import torch
import torch.distributed as dist
from torch import nn

from vesalius.engine.distributed import process_group


def main(times: int) -> None:
    torch.set_num_threads(1)
    faulthandler.dump_traceback_later(90, exit=True)
    for number in range(times):
        os.environ |= {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost"}
        os.environ["MASTER_PORT"] = str(20_000 + (os.getpid() + number) % 20_000)
        with process_group(torch.device("cpu")):
            model = nn.parallel.DistributedDataParallel(nn.Linear(4, 4))
            model.cycle = [model]
            model(torch.randn(2, 4)).sum().backward()
            dist.all_reduce(torch.ones(200_000), async_op=True)
            del model
    print("ended")


if __name__ == "__main__":
    main(int(sys.argv[1]))
