"""The configuration of one node. `sections` holds the types and defaults, `loading` reads and checks them, `peers`
says who may connect in which epoch, `links` which network conditions are emulated."""

from potchain.config.links import profile_of
from potchain.config.loading import CONFIG_FILE, NodeConfig, Setting, load_config
from potchain.config.peers import PeerDirectory

__all__ = ["CONFIG_FILE", "NodeConfig", "PeerDirectory", "Setting", "load_config", "profile_of"]
