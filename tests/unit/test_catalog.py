from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from evalharness.catalog import tasks as catalog
from evalharness.catalog.languages import language_codes
from evalharness.catalog.selection import Selection, select
from evalharness.catalog.tasks import TaskSpec, benchmark, find_task, local_task, mteb_task, quick_suite, suites
from evalharness.errors import DataError, UsageError
from evalharness.tasks import check_runnable, is_native, native_types, task_type

TASK = """
name = "Mine"
type = "STS"
main_score = "cosine_spearman"
languages = ["eng-Latn"]
[data]
format = "jsonl"
files = { test = "rows.jsonl" }
"""


@pytest.fixture
def task_file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        (tmp_path / "rows.jsonl").write_text('{"sentence1": "a", "sentence2": "b", "score": 1}\n')
        path = tmp_path / "task.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_every_suite_names_tasks_that_can_be_run() -> None:
    for name in suites():
        choices = select(Selection(suites=[name]))
        check_runnable([choice.spec for choice in choices])
        assert len(choices) == len(suites()[name].tasks)


@pytest.mark.parametrize("name", ["quick-en", "quick-zh"])
def test_quick_suites_are_small_and_have_every_type_of_their_benchmark(name: str) -> None:
    choices = select(Selection(suites=[name]))
    characters = [choice.spec.sizes[split][subset][1]
                  for choice in choices for split in choice.splits for subset in choice.subsets]  # fmt: skip
    assert sum(characters) <= 40_000_000
    whole = select(Selection(benchmarks=[{"quick-en": "MTEB(eng, v2)", "quick-zh": "MTEB(cmn, v1)"}[name]]))
    assert {choice.spec.type for choice in choices} == {choice.spec.type for choice in whole}


@pytest.mark.parametrize(
    ("name", "split", "subset", "count"),
    [
        ("NFCorpus", "test", "default", 323),  # queries
        ("Touche2020", "test", "default", 49),  # of which mteb counted the characters alone
        ("R2MEDPMCTreatmentRetrieval", "test", "default", 150),  # of which mteb says that they are 5
        ("STS22", "test", "en", 197),  # pairs
        ("Banking77Classification", "test", "default", 3080),  # texts
        ("ArXivHierarchicalClusteringP2P", "test", "default", 10),  # draws
    ],
)
def test_the_catalogue_knows_how_many_items_a_score_is_made_of(name: str, split: str, subset: str, count: int) -> None:
    spec = mteb_task(name)
    assert spec is not None
    assert spec.items[split][subset] == count


@pytest.mark.parametrize("name", ["ArxivClusteringP2P", "MindSmallReranking", "mFollowIR", "FloresBitextMining"])
def test_items_that_nobody_counted_are_not_guessed(name: str) -> None:
    spec = mteb_task(name)
    assert spec is not None
    assert spec.items == {}


def test_what_is_read_of_a_task_without_parsing_it_is_what_it_says() -> None:
    lines = (catalog.tasks_folder() / "mteb" / "tasks.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    assert catalog.mteb_task_names() == [entry["name"] for entry in entries]
    assert catalog.task_types() == sorted({entry["type"] for entry in entries})
    for kind in catalog.task_types():
        scores = Counter(entry["main_score"] for entry in entries if entry["type"] == kind)
        assert catalog.usual_main_score(kind) == scores.most_common(1)[0][0]
    assert [mteb_task(entry["name"]) for entry in entries] == [TaskSpec.model_validate(entry) for entry in entries]


def test_the_quick_suite_follows_the_models_language() -> None:
    assert quick_suite(["zho-Hans"]) == "quick-zh"
    assert quick_suite(["eng-Latn", "zho-Hans"]) == "quick-en"
    assert quick_suite([]) == "quick-en"


def test_benchmarks_by_name_and_alias() -> None:
    for name in ("MTEB(eng, v2)", "MTEB(eng)", "mteb(ENG,v2)"):
        found = benchmark(name)
        assert found is not None
        assert len(found.tasks) == 41
    assert benchmark("MTEB(eng, v9)") is None


def test_benchmarks_keep_their_own_subsets_and_splits() -> None:
    chosen = {c.spec.name: c for c in select(Selection(benchmarks=["MTEB(eng, v1)"]))}
    assert chosen["STS17"].subsets == ("en-en",)
    assert chosen["MSMARCO"].splits == ("dev",)
    # an aggregate stands for its parts
    assert "CQADupstackRetrieval" not in chosen
    assert "CQADupstackGamingRetrieval" in chosen


def test_languages_types_splits_and_subsets_filter() -> None:
    chosen = select(Selection(tasks=["XQuADRetrieval", "STS12"], languages=["deu", "ell"]))
    assert [(c.spec.name, c.subsets) for c in chosen] == [("XQuADRetrieval", ("de", "el"))]
    chosen = select(Selection(tasks=["XQuADRetrieval", "STS12"], types=["STS"]))
    assert [c.spec.name for c in chosen] == ["STS12"]
    chosen = select(Selection(tasks=["STSB"], splits=["test"]))
    assert chosen[0].splits == ("test",)


def test_all_wrong_names_are_reported_at_once_with_the_nearest() -> None:
    with pytest.raises(UsageError) as error:
        select(Selection(tasks=["STS12", "STS2X"], suites=["quik-en"], benchmarks=["MTEB(eng)", "BIER"], types=["st"]))
    message = str(error.value)
    for part in (
        "unknown task 'STS2X': did you mean STS22",
        "unknown suite 'quik-en': did you mean quick-en",
        "unknown benchmark 'BIER': did you mean BEIR",
        "unknown task type 'st': did you mean STS",
    ):
        assert part in message


def test_wrong_splits_and_subsets_name_what_there_is() -> None:
    with pytest.raises(UsageError) as error:
        select(Selection(tasks=["XQuADRetrieval", "STSB"], splits=["tset"]))
    assert str(error.value).splitlines() == [
        "XQuADRetrieval has no split tset; it has validation",
        "STSB has no split tset; it has validation, test",
    ]
    with pytest.raises(UsageError, match="XQuADRetrieval has no subset english; it has ar, de, el, en, es and 7 more"):
        select(Selection(tasks=["XQuADRetrieval"], subsets=["english"]))
    with pytest.raises(UsageError, match="unknown subset 'zzh': did you mean zh"):
        select(Selection(tasks=["XQuADRetrieval"], subsets=["en", "zzh"]))


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("zh", {"zho", "cmn"}), ("chinese", {"zho", "cmn"}), ("Chinese", {"zho", "cmn"}), ("chi", {"zho", "cmn"}),
        ("zho", {"zho"}), ("CMN", {"cmn"}), ("cmn-Hans", {"cmn-Hans"}), ("zh_hans", {"zho-Hans", "cmn-Hans"}),
        ("en", {"eng"}), ("english", {"eng"}), ("English", {"eng"}), ("eng", {"eng"}), ("eng-latn", {"eng-Latn"}),
        ("de", {"deu"}), ("ger", {"deu"}), ("greek", {"ell"}), ("ar", {"ara", "arb"}), ("Norwegian Bokmål", {"nob"}),
        ("no", {"nor", "nob", "nno"}), ("Bemba", {"bem"}), ("python", {"python"}), ("c++", {"c++"}), ("qu", {"que"}),
    ],
)  # fmt: skip
def test_languages_by_code_and_by_name(name: str, codes: set[str]) -> None:
    assert language_codes([name])[name] == codes


def test_every_short_code_and_name_is_understood() -> None:
    known = json.loads((catalog.tasks_folder() / "mteb" / "languages.json").read_text(encoding="utf-8"))
    assert all(language_codes([*known["names"], *known["short"]]).values())
    for code, name in known["names"].items():
        # Ese is a language whose name is another's code
        assert code in language_codes([name])[name] or name.lower() in known["names"]


def test_what_is_no_language_is_explained() -> None:
    with pytest.raises(UsageError) as error:
        select(Selection(tasks=["STS12", "STS1"], languages=["englsh", "zh-CN", "qqqq"]))
    message = str(error.value)
    for part in ("unknown task 'STS1'", "unknown language 'englsh': did you mean English", "unknown language 'zh-CN'",
                 "unknown language 'qqqq'", "A language is a code of ISO 639"):  # fmt: skip
        assert part in message


def test_languages_in_words_keep_what_their_codes_keep() -> None:
    def chosen(*languages: str) -> list[tuple[str, tuple[str, ...]]]:
        found = select(Selection(tasks=["XQuADRetrieval", "STSB", "STS22"], languages=languages))
        return [(choice.spec.name, choice.subsets) for choice in found]

    assert chosen("chinese") == chosen("zh") == chosen("zho", "cmn") != chosen("eng")
    assert chosen("german", "el") == chosen("deu", "ell")


def test_the_languages_of_an_own_task_are_known(task_file: Callable[[str], Path]) -> None:
    path = str(task_file(TASK.replace("eng-Latn", "tlh-Latn")))
    assert [choice.spec.name for choice in select(Selection(tasks=[path], languages=["tlh"]))] == ["Mine"]
    with pytest.raises(UsageError, match="unknown language 'tlh'"):
        select(Selection(tasks=["STS12"], languages=["tlh"]))


@pytest.mark.parametrize("name", ["sts", "STS", "pair classification", "pair-classification", "PAIR_CLASSIFICATION"])
def test_task_types_in_any_spelling(name: str) -> None:
    chosen = select(Selection(tasks=["STS12", "SprintDuplicateQuestions"], types=[name]))
    assert [choice.spec.name for choice in chosen] == ["STS12" if len(name) == 3 else "SprintDuplicateQuestions"]


def test_a_type_that_only_a_task_file_has_can_be_selected(task_file: Callable[[str], Path]) -> None:
    path = str(task_file(TASK.replace('"STS"', '"Triplets"')))
    assert [choice.spec.type for choice in select(Selection(tasks=["STS12", path], types=["triplets"]))] == ["Triplets"]
    with pytest.raises(UsageError, match="unknown task type 'triplets'"):
        select(Selection(tasks=["STS12"], types=["triplets"]))


def test_nothing_left_is_an_error() -> None:
    expected = "no task is left: none of those named has the language cmn or zho and the type STS"
    with pytest.raises(UsageError, match=expected):
        select(Selection(tasks=["STS12"], languages=["zh"], types=["sts"]))
    with pytest.raises(UsageError, match="no task is left: name tasks"):
        select(Selection())


def test_tasks_that_no_type_scores_go_to_mteb() -> None:
    foreign = [name for name in catalog.mteb_task_names() if (spec := mteb_task(name)) and not is_native(spec)]
    assert foreign == ["RuSciBenchCitedCountRegression", "RuSciBenchYearPublRegression", "StakeholderGrounding"]
    with pytest.raises(UsageError, match="unknown task type 'Stsx': did you mean STS"):
        task_type("Stsx")


def test_suites_are_what_they_say() -> None:
    for name, suite in suites().items():
        found = Counter(choice.spec.type for choice in select(Selection(suites=[name])))
        assert suite.categories == found, name
    assert len(suites()["c-mteb-35"].tasks) == 35
    assert len(suites()["bge-reranking"].tasks) == 6


def test_a_folder_of_task_files(tmp_path: Path, task_file: Callable[[str], Path]) -> None:
    path = task_file(TASK)
    assert [choice.spec.name for choice in select(Selection(tasks=[str(path.parent)]))] == ["Mine"]
    path.unlink()
    with pytest.raises(UsageError, match=r"holds no task files: expected \*.toml"):
        select(Selection(tasks=[str(tmp_path)]))


def test_a_local_task(task_file: Callable[[str], Path]) -> None:
    path = task_file(TASK)
    spec = find_task(str(path))
    assert spec is not None
    assert (spec.name, spec.languages, spec.splits) == ("Mine", {"default": ("eng-Latn",)}, ("test",))
    (path.parent / "rows.jsonl").write_text('{"sentence1": "a", "sentence2": "b", "score": 2}\n')
    assert local_task(path).revision != spec.revision


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("type =", "tpye ="), "unknown key 'tpye': did you mean type"),
        (('"Mine"', "7"), r"name: expected a text, got 7 \(a number\)"),
        (('"Mine"', "true"), "name: expected a text, got true"),
        (('["eng-Latn"]', '"eng-Latn"'), r"languages: expected a list, got 'eng-Latn' \(a text\)"),
        (('["eng-Latn"]', "[0]"), r"languages.0: expected a text, got 0 \(a number\)"),
        (('"jsonl"', "[]"), r"data.format: .*got \[\] \(a list\)"),
        (("[data]", "[dta]"), r"data is missing"),
        (('type = "STS"', ""), r"task.toml: type is missing"),
        (("rows.jsonl", "gone.jsonl"), r"the data file .*gone.jsonl cannot be read .No such file"),
        (("[data]", "[data"), "is not valid TOML"),
        (('"jsonl"', '"xlsx"'), "data.format: Input should be 'beir'.*, got 'xlsx' .a text"),
    ],
)
def test_wrong_task_files(task_file: Callable[[str], Path], change: tuple[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        local_task(task_file(TASK.replace(*change)))


def test_without_a_main_score_a_task_has_the_usual_one(task_file: Callable[[str], Path]) -> None:
    path = task_file(TASK.replace('main_score = "cosine_spearman"', ""))
    assert local_task(path).main_score == "cosine_spearman"
    usual = {name: score for name in native_types() if (score := catalog.usual_main_score(name))}
    assert {name: score for name, score in usual.items() if "Instr" not in name} == {
        "BitextMining": "f1", "Classification": "accuracy", "Clustering": "v_measure",
        "MultilabelClassification": "accuracy", "PairClassification": "max_ap", "Reranking": "map_at_1000",
        "Retrieval": "ndcg_at_10", "STS": "cosine_spearman", "Summarization": "cosine_spearman",
    }  # fmt: skip
    for name, score in usual.items():
        assert name.startswith("InstructionRerank") or score in task_type(name).metric_names


def test_a_wrong_main_score_lists_the_metrics(task_file: Callable[[str], Path]) -> None:
    with pytest.raises(UsageError) as error:
        check_runnable([local_task(task_file(TASK.replace("cosine_spearman", "spearmann")))])
    assert "unknown main_score 'spearmann': did you mean spearman" in str(error.value)
    assert "The metrics of STS are cosine_pearson, cosine_spearman, manhattan_pearson" in str(error.value)


def test_a_folder_of_tasks_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=f"no such task file or folder: {Path.cwd()}/my/tasks$"):
        select(Selection(tasks=["my/tasks"]))


def test_a_task_file_that_is_not_there() -> None:
    with pytest.raises(DataError, match=r"nowhere.toml: cannot be read"):
        select(Selection(tasks=["nowhere.toml"]))


def test_installed_packages_carry_the_tasks() -> None:
    assert (catalog.tasks_folder() / "suites.toml").is_file()
