from .build import build_from_text as build_from_text
from .shapes import check_model_text as check_model_text
