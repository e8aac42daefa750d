from .draw import MAX_SIZE as MAX_SIZE
from .draw import MIN_SIZE as MIN_SIZE
from .draw import PhantomSet as PhantomSet
from .draw import draw_phantom as draw_phantom
from .draw import draw_phantoms as draw_phantoms
from .varied import CLASSES as CLASSES
from .varied import Varied as Varied
from .varied import draw_varied as draw_varied
