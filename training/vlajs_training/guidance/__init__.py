"""Sparse, transient guidance by a teacher (paper, III)."""

from vlajs_training.guidance.config import METHODS, GuidanceConfig, Method, MethodName, deactivation_reward
from vlajs_training.guidance.guide import Guide

__all__ = ["METHODS", "GuidanceConfig", "Guide", "Method", "MethodName", "deactivation_reward"]
