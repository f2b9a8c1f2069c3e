"""The family of each architecture: the module that builds a network of it and cuts it into units.

Each of them offers the same, and imports torch only in its functions, as runs are planned without torch:
    STACKED_BLOCKS: trained blocks up to which several runs are trained faster as one network; None: none, not even heads.
    LONE_BATCHNORM: whether its last batch norm is a piece by itself (Shafahi et al. 2020, Figure 2: of a w32-10 these are 17).
    published(architecture, num_classes): the network as its authors published it, with random weights.
    units(network): its modules in the order in which an image goes through them, by the names of the units; no weight is copied.
        One of its own under `normalise` takes the place of the normalisation by the mean and std of the data.
"""

FAMILIES = {
    "small_resnet": "stages.lib.networks.families.small_resnet",
    "small_resnet_x0_5": "stages.lib.networks.families.small_resnet_widths",
    "small_resnet_x2": "stages.lib.networks.families.small_resnet_widths",
    "wide_resnet34_1": "stages.lib.networks.families.wide_resnet34",
    "wide_resnet34_2": "stages.lib.networks.families.wide_resnet34",
    "wide_resnet34_4": "stages.lib.networks.families.wide_resnet34",
    "wide_resnet34_10": "stages.lib.networks.families.wide_resnet34",
    "madry_wide_resnet32_1": "stages.lib.networks.families.madry_wide_resnet32",
    "madry_wide_resnet32_2": "stages.lib.networks.families.madry_wide_resnet32",
    "madry_wide_resnet32_4": "stages.lib.networks.families.madry_wide_resnet32",
    "madry_wide_resnet32_10": "stages.lib.networks.families.madry_wide_resnet32",
    "cifar_resnet18": "stages.lib.networks.families.cifar_resnet",
    "cifar_resnet50": "stages.lib.networks.families.cifar_resnet",
    "resnet18": "stages.lib.networks.families.resnet",
    "resnet34": "stages.lib.networks.families.resnet",
    "resnet50": "stages.lib.networks.families.resnet",
    "resnet101": "stages.lib.networks.families.resnet",
    "resnet152": "stages.lib.networks.families.resnet",
    "resnext50_32x4d": "stages.lib.networks.families.resnet",
    "resnext101_32x8d": "stages.lib.networks.families.resnet",
    "resnext101_64x4d": "stages.lib.networks.families.resnet",
    "wide_resnet50_2": "stages.lib.networks.families.resnet",
    "wide_resnet50_4": "stages.lib.networks.families.resnet",
    "wide_resnet101_2": "stages.lib.networks.families.resnet",
    "densenet161": "stages.lib.networks.families.densenet",
    "vgg16_bn": "stages.lib.networks.families.vgg",
    "mobilenet_v2": "stages.lib.networks.families.mobilenet",
    "mnasnet1_0": "stages.lib.networks.families.mnasnet",
    "shufflenet_v2_x1_0": "stages.lib.networks.families.shufflenet",
}
