"""The configuration of one node. `sections` holds the types and defaults, `loading` reads and checks them."""

from potchain.config.loading import CONFIG_FILE, NodeConfig, Setting, load_config, peers_of

__all__ = ["CONFIG_FILE", "NodeConfig", "Setting", "load_config", "peers_of"]
