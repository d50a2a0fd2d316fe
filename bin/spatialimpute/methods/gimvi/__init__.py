"""gimVI (Lopez et al. 2019, arXiv:1905.02269): model, training, posterior."""
