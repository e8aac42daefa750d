from .dpsgd import DpSgdResult as DpSgdResult
from .dpsgd import DpSgdSettings as DpSgdSettings
from .dpsgd import train_dp as train_dp
from .grad_sample import check_model as check_model
from .grad_sample import per_sample as per_sample
from .gradient_check import check_gradients as check_gradients
from .sgd import Sgd as Sgd
from .unit_gradients import Losses as Losses
