"""Sample sizes of planned studies: reader studies, AUCs, external validations."""

from ctbone.planning.areas import plan_auc
from ctbone.planning.page import Plan
from ctbone.planning.reader_studies import RandomChoice, plan_readers
from ctbone.planning.validations import plan_validation

__all__ = ["Plan", "RandomChoice", "plan_auc", "plan_readers", "plan_validation"]
