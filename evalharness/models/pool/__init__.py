"""Several actors of Ray as one backend: texts are encoded by as many devices as there are, on one machine or many."""
