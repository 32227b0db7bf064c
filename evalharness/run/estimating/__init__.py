"""What a run will cost: seconds, bytes and device memory, before it and while it goes; it changes no number.

| question | file |
| --- | --- |
| which texts of which lengths a job encodes, and what is fitted on them | `work` |
| how many tokens a character is, by script | `scripts` |
| how fast a model is here, and where that is kept | `speed` |
| how that is measured, in five seconds | `calibrating` |
| what a job takes of each | `costs` |
| how the work is divided over devices | `devices` |
| how much memory a batch takes | `memory` |
| what the jobs of a plan cost, by what is known of the model, or measured for it | `foreseeing` |
| how much of a run is left | `progress` |
| what a run shows of the speed, for the next estimate | `learning` |
"""
