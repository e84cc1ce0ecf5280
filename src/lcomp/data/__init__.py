"""The data every technique shares."""

from lcomp.data.datamodule import MNISTDataModule as MNISTDataModule
