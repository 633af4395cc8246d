"""Pure functions of numbers; none of them sees a model."""
