"""The data every technique shares."""

from lcomp.data.cifar10 import CIFAR10DataModule as CIFAR10DataModule
from lcomp.data.datamodule import ImageDataModule as ImageDataModule
from lcomp.data.image_folder import ImageFolderDataModule as ImageFolderDataModule
from lcomp.data.like_mnist import FashionMNISTDataModule as FashionMNISTDataModule
from lcomp.data.like_mnist import KMNISTDataModule as KMNISTDataModule
from lcomp.data.mnist import MNISTDataModule as MNISTDataModule
from lcomp.data.sst2 import SST2DataModule as SST2DataModule
from lcomp.data.text import TextDataModule as TextDataModule
from lcomp.data.text_file import TextFileDataModule as TextFileDataModule
