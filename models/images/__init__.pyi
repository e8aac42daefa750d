from .alone import each_alone as each_alone
from .augment import build_augment as build_augment
from .augment_settings import AugmentSettings as AugmentSettings
from .crop_to_head import cut_to_head as cut_to_head
from .pixels import check_sizes as check_sizes
from .pixels import normalise as normalise
