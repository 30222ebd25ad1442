"""Seeds of the random choices that every data set makes: which points it trains on, shows and holds out."""

TRAIN_SEED, VIEW_SEED, REAL_SEED, FLOOR_SEED = 1, 2, 3, 4
