"""What a batch means: its inputs, its loss, its metrics, an example to export with."""

from lcomp.record.metric import Metric
from lcomp.tasks.image_classification import ImageClassification
from lcomp.tasks.task import Batch, Loader, Task
from lcomp.tasks.text_classification import TextClassification

__all__ = ["Batch", "ImageClassification", "Loader", "Metric", "Task", "TextClassification"]
