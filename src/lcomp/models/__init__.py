"""Plain networks: inputs in [0, 1], or token ids and their mask, to logits."""

from lcomp.models.bert import Bert as Bert
from lcomp.models.cifar_resnet import CifarResNet as CifarResNet
from lcomp.models.conv_net import ConvNet as ConvNet
from lcomp.models.lenet5 import LeNet5 as LeNet5
from lcomp.models.small_cnn import SmallCNN as SmallCNN
from lcomp.models.timm_network import TimmNetwork as TimmNetwork
from lcomp.models.torchvision_networks import mobilenet_v2 as mobilenet_v2
from lcomp.models.torchvision_networks import mobilenet_v3_small as mobilenet_v3_small
from lcomp.models.torchvision_networks import resnet18 as resnet18
from lcomp.models.torchvision_networks import resnet50 as resnet50
from lcomp.models.torchvision_networks import vgg16_bn as vgg16_bn
from lcomp.models.transformers_network import TransformersNetwork as TransformersNetwork
