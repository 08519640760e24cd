"""For every test: MuJoCo, whoever imports it first, can render without a screen."""

from vlajs_perception.rendering.gl import choose_gl

choose_gl()
