"""Training: players, the alternating trainer, and handlers for checkpoints, logs and panels."""

from transeg.engines.alarms import CollapseAlarm
from transeg.engines.checkpoints import TrainingState
from transeg.engines.handlers import PanelSaver, TermLogger
from transeg.engines.phases import Phases
from transeg.engines.player import Player
from transeg.engines.processes import join_processes
from transeg.engines.scores import ScoreSaver, SliceScoreSaver
from transeg.engines.tracking import track_training, track_validation
from transeg.engines.trainer import AlternatingTrainer, NonFiniteError, Objective, RankLostError
from transeg.engines.weights import BestModelSaver, WeightsLoader, load_weights

__all__ = [
    "AlternatingTrainer",
    "BestModelSaver",
    "CollapseAlarm",
    "NonFiniteError",
    "Objective",
    "PanelSaver",
    "Phases",
    "Player",
    "RankLostError",
    "ScoreSaver",
    "SliceScoreSaver",
    "TermLogger",
    "TrainingState",
    "WeightsLoader",
    "join_processes",
    "load_weights",
    "track_training",
    "track_validation",
]
