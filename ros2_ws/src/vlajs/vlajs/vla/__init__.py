"""Vision-language-action models over the network: one client, several servers, one convention for their actions."""
