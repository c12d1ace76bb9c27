"""Benchmarks of dfast on the machine at hand: `dfast bench`, and what `benchmarks/` measures.

case            what a benchmark case is: a workload in one variant
sizes           how large the workloads are on a device
inputs          the inputs of every workload, from fixed seeds
counts          the fewest bytes and operations that a workload needs
ops             workloads A to D: hash grid, marching, compositing, field
step            workload E: the whole render step, Adam and the occupancy update
diffusion       workload F: UNets and the VAE's encoder, tuned and as diffusers has them
torch_baseline  the same field in plain torch, to compare with
peers           the same workloads in nerfacc and tiny-cuda-nn, where they are installed
suite           the list of all cases, and the workloads' letters
timing          clocks, memory, CUDA graphs
trace           counts of kernels and host waits; NVTX ranges; Chrome traces
machine         names and versions of the machine, and the best rates it reaches
report          the table and the file
measurement     what is measured of cases, and in which order
apart           runs the cases of one peer in a process of its own
process         a process whose lines are read, within a limit
runner          runs every case, one after the other
builds          another build of dfast, to compare with
versus          both builds in turn, and the ratios of their times
priors          what the benches of whole steps with priors share
prior_steps     whole training steps with priors
step_parts      the parts of such a step
at_once         steps of several objects side by side
over_ranks      steps whose views several processes share
stepping        takes steps, and times them by the host's clock

Nothing is imported here, because `dfast bench` checks its options before it imports torch.
"""
