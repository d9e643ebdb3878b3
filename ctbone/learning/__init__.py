"""What every training needs: loop, checkpoints, random draws, augmentation, several processes.

It knows no study folder, no classes and no folds: a training stage passes settings, labels and
functions. Each module is imported by its own name.
"""
