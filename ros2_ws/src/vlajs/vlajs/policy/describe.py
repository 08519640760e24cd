"""A contract in words, for people."""

from typing import Any

from vlajs.policy.contract import ACTION_SIZE, ActionContract, Contract, ObservationTerm


def describe_contract(contract: Contract) -> str:
    """Everything in the contract, on a few dozen lines."""
    lines = [
        f"{contract.contract_id} (schema {contract.schema_version})",
        f"task         {contract.task}: {contract.instruction!r}",
        f"rate         {contract.control_rate_hz:g} Hz, {contract.horizon_steps} steps "
        f"({contract.horizon_steps / contract.control_rate_hz:g} s) an episode",
        f"network      {' -> '.join(map(str, _layer_sizes(contract)))}, {contract.network.activation}",
        f"frames       {contract.frames.base} at {_triple(contract.frames.world_from_base_m)} m in the simulator, "
        f"tool {contract.frames.hand_to_tcp_m:g} m beyond the hand",
        "",
        f"observation  {contract.observation_size} numbers",
        *_table([["term", "slice", "unit", "frame", "source"], *map(_term_row, contract.observation)]),
        "",
        f"action       {ACTION_SIZE} numbers in [-1, 1], a step",
        *_action_lines(contract.action),
        "",
        "trained with",
        *([f"  {key}: {_plain(value)}" for key, value in contract.provenance.items()] or ["  (not recorded)"]),
    ]
    return "\n".join(lines)


def _layer_sizes(contract: Contract) -> list[int]:
    return [contract.observation_size, *contract.network.hidden_sizes, ACTION_SIZE]


def _term_row(term: ObservationTerm) -> list[str]:
    return [term.name, f"{term.start}:{term.stop}", term.unit, term.frame, term.source]


def _action_lines(action: ActionContract) -> list[str]:
    gripper = action.gripper
    if gripper.fixed_width_m is not None:
        hand = f"held at {gripper.fixed_width_m:g} m, the number is ignored"
    else:
        hand = (
            f"0 to {gripper.width_max_m:g} m; opens above {gripper.open_above_m:g} m, "
            f"closes below {gripper.close_below_m:g} m"
        )
    return [
        f"  0:3 translation  up to {action.position_scale_m:g} m in base axes, added to the {action.reference}",
        f"  3:6 rotation     up to {action.rotation_scale_rad:g} rad, {action.rotation.replace('_', ' ')}",
        f"  6:7 hand         {hand}; starts at {gripper.initial_width_m:g} m",
        f"  leash            {action.leash_m:g} m and {action.leash_rad:g} rad from the measured pose",
        f"  workspace        {_triple(action.workspace_min_m)} to {_triple(action.workspace_max_m)} m",
    ]


def _triple(values: tuple[float, ...]) -> str:
    return f"({', '.join(f'{value:g}' for value in values)})"


def _plain(value: Any) -> str:
    return ", ".join(f"{key} {_plain(item)}" for key, item in value.items()) if isinstance(value, dict) else str(value)


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
