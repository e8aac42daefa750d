from .client import Participant as Participant
from .pairing import PeerRequest as PeerRequest
from .researcher_inbox import Delivery as Delivery
from .researcher_link import ResearcherLink as ResearcherLink
from .site_inbox import InboundJob as InboundJob
from .site_link import OwnerLink as OwnerLink
from .word_list import fingerprint_words as fingerprint_words
