import pytest

from d2_config import ConfigKeyError, Registry


def test_decorator_form_registers_under_the_name_and_returns_the_class() -> None:
    registry: Registry[type] = Registry("BACKBONE")

    @registry.register()
    class MyBackbone:
        pass

    assert registry.get("MyBackbone") is MyBackbone


def test_call_form_registers_functions() -> None:
    registry = Registry("BACKBONE")

    def build() -> None: ...

    assert registry.register(build) is build
    assert registry.get("build") is build


def test_decorator_without_parentheses_registers() -> None:
    registry = Registry("BACKBONE")

    @registry.register
    def build() -> None: ...

    assert "build" in registry


def test_unknown_name_is_a_key_error_with_close_matches() -> None:
    registry = Registry("ROI_HEADS")

    @registry.register()
    class StandardROIHeads:
        pass

    with pytest.raises(KeyError) as caught:
        registry.get("StandardROIHead")
    assert isinstance(caught.value, ConfigKeyError)
    assert str(caught.value) == (
        "no object named 'StandardROIHead' in registry ROI_HEADS. "
        "Did you mean StandardROIHeads? Registered: StandardROIHeads."
    )


def test_unknown_name_in_an_empty_registry_says_so() -> None:
    with pytest.raises(KeyError, match=r"Registered: nothing"):
        Registry("EMPTY").get("x")


def test_taken_name_is_refused_and_the_first_object_stays() -> None:
    registry = Registry("X")

    def make(value: int) -> type:
        return type("Same", (), {"value": value})

    first = registry.register(make(1))
    with pytest.raises(ValueError, match=r"'Same' is already registered in X"):
        registry.register(make(2))
    assert registry.get("Same") is first


def test_object_without_a_name_is_refused() -> None:
    with pytest.raises(TypeError, match="got 3"):
        Registry("X").register(3)  # type: ignore[type-var]  # the point of the test


def test_iteration_gives_names_and_objects_in_order() -> None:
    registry = Registry("X")
    objects = [registry.register(type(name, (), {})) for name in ("B", "A")]
    assert list(registry) == [("B", objects[0]), ("A", objects[1])]
    assert len(registry) == 2


def test_repr_lists_what_is_registered() -> None:
    registry = Registry("META_ARCH")
    registry.register(type("RetinaNet", (), {}))
    assert repr(registry).splitlines()[0] == "Registry of META_ARCH:"
    assert "RetinaNet" in repr(registry)


def test_two_registries_share_nothing() -> None:
    one, two = Registry("ONE"), Registry("TWO")
    one.register(type("Thing", (), {}))
    assert "Thing" not in two
