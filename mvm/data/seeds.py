"""Seeds of the samples that every data set draws: training points, view, and two held-out samples for scores."""

TRAIN_SEED, VIEW_SEED, REAL_SEED, FLOOR_SEED = 1, 2, 3, 4
