#!/usr/bin/env bash
# Which of several ways to read rows of a bfloat16 table is taken decides whether its gradient stops at 256.
#
# Expected (written down before the run): indexed sums in bfloat16 stop growing at 256, where adding 1 no longer
# changes the sum, for scatter_add and index_add; the gradients of embeddings, made for large tables, are summed in
# float32.
# Seen with torch 2.13.0 on a CPU, one thread and two, 2026-11-29, for 10000 reads of the one row of a table, each
# with gradient 1 (the right answer in bfloat16 is 9984):
#   table.index_select(0, i), torch.gather, torch.take_along_dim, a broadcast                            9984
#   table[i], F.embedding, F.embedding_bag, index_select of a table of one dimension, F.grid_sample       256
# In float16 the latter stop at 2048. scatter_add and scatter_reduce hold their sums in float32 for the short types,
# and index_select of a matrix uses them; index_put, the backward passes of embeddings and of grid_sample, and
# index_add along a vector add to the bfloat16 gradient itself.
# So the coarse levels of a hash grid or a plane of features get a fortieth of their gradient by table[i], and by
# index_select, which is meant to be the same, all of it.
#
# Usage: findings/torch_bfloat16_table_gradients.sh     fails when the behaviour changes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 numpy
cat > "$folder/see.py" <<'PYTHON'
import torch
import torch.nn.functional as F

READS = 10000
index = torch.zeros(READS, dtype=torch.int64)
right = {
    "index_select": ((1, 2), lambda table: table.index_select(0, index)),
    "gather": ((1, 2), lambda table: table.gather(0, index[:, None].expand(-1, 2))),
    "take_along_dim": ((1, 2), lambda table: table.take_along_dim(index[:, None], 0)),
    "broadcast": ((1, 2), lambda table: table.expand(READS, 2)),
}
stuck = {
    "table[i]": ((1, 2), lambda table: table[index]),
    "embedding": ((1, 2), lambda table: F.embedding(index, table)),
    "embedding_bag": ((1, 2), lambda table: F.embedding_bag(index[None], table, mode="sum")),
    "index_select of a vector": ((1,), lambda table: table.index_select(0, index)),
    "grid_sample": ((1, 2, 1, 1), lambda table: F.grid_sample(table, table.new_zeros(1, 100, READS // 100, 2))),
}
for threads in (1, 2):
    torch.set_num_threads(threads)
    for dtype, limit in ((torch.bfloat16, 256), (torch.float16, 2048)):
        seen = {}
        for name, (shape, read) in (right | stuck).items():
            table = torch.ones(shape, dtype=dtype, requires_grad=True)
            seen[name] = torch.autograd.grad(read(table).sum(), table)[0].flatten()[0].item()
        print(f"torch {torch.__version__}, {dtype}, {threads} threads: {seen}")
        whole = torch.tensor(READS).to(dtype).item()
        assert all(seen[n] == whole for n in right) and all(seen[n] == limit for n in stuck), "the behaviour changed"
PYTHON
"$folder/venv/bin/python" "$folder/see.py" 2>/dev/null
