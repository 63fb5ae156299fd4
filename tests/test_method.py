from transeg.method import Method, find_method


def test_lists_of_each_domain_of_a_recipe():
    cardiac = find_method("cardiac")
    assert cardiac.lists_of({"domains": {"c0": {}, "lge": {}}}) == {
        "training_c0": "validation_c0",
        "training_lge": "validation_lge",
    }
    plain = Method("bundle", "summary", {"training": "validation", "training_absence": None}, "extractor")
    assert plain.lists_of({"channels": ["t1"]}) == plain.lists
