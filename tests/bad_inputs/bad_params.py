"""Bad parameters, and bad files that parameters name."""

from corpus import case, param

param("text for a number", {"cv_folds": "many"}, "'cv_folds': found 'many', expected 0 (skip) or 2 to 100 folds")
param("fraction for a whole number", {"n_latent": 2.5}, "'n_latent': found 2.5, expected a whole number")
param("list for a number", {"seed": [1, 2]}, "'seed': found [1, 2], expected a whole number")
param("true for a text", {"genes": True}, "'genes': given without a value")
param("text for true or false", {"drop_outliers": "yes"}, "'drop_outliers': found 'yes', expected true or false")
param("infinite", {"max_mad": "inf"}, "'max_mad': found 'inf', expected a number")
param("too small", {"n_samples": 1}, "'n_samples': found 1", "of at least 2")
param("too large", {"interval": 1.5}, "'interval': found 1.5", "less than 1")
param("negative", {"kappa": -1}, "'kappa'", "expected 'auto' or a number of at least 0")
param("not one of the choices", {"preset": "papr"}, "'preset'", "did you mean 'paper'?")
param("unknown method", {"methods": "knn,magic"}, "'methods': there is no method 'magic'", "known are gimvi, knn")
param("misspelled method", {"methods": "celtype"}, "'methods'", "did you mean 'celltype'?")
param("misspelled", {"n_sample": 5}, "'n_sample': there is none of this name; did you mean 'n_samples'?")
param("hyphens", {"cv-folds": 3, "cvFolds": 3}, "'cv-folds': write it as 'cv_folds'")
param("verdicts the wrong way round", {"verdict_warn": 0.5}, "'verdict_warn' and 'verdict_pass'", "swap them")
param(
    "contradiction beside a mistake",
    {"max_shared_genes": 5, "cv_folds": 1},
    "2 problems", "'cv_folds'", "'max_shared_genes' and 'min_shared_genes'",
)  # fmt: skip
param(
    "an adversary of one side",
    {"train_on": "reference", "kappa": 5}, "'train_on' and 'kappa'", "leave kappa at 'auto'",
)  # fmt: skip
param("no share for this method", {"blend": "knn,spage"}, "'blend'", "some of knn, linear, celltype")
param("folds beside none", {"gene_folds": "f.json", "cv_folds": 0}, "'gene_folds' and 'cv_folds'", "drop one")
param("missing gene list", {"genes": "genes.txt"}, "'genes'", "genes.txt: no such file; correct the path")
param("unknown gene", {"genes": "Gene1,Gad1"}, "'genes'", "1 of 2 genes are not in reference.h5ad: 'Gad1'")
param("missing folds", {"gene_folds": "folds.json"}, "'gene_folds'", "folds.json: no such file; correct the path")
param("folds of another type", {"gene_folds": "folds.csv"}, "'gene_folds'", "expected the path of a .json file")


def named(name: str, param_name: str, file: str, content: str | bytes, *says: str) -> None:
    """A case of a file that a parameter names; the message names parameter and file."""

    @case(f"parameters: {name}", f"'{param_name}'", file, *says)
    def spoil(folder):
        (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
        return [{param_name: file}]


named("empty gene list", "genes", "genes.txt", "# none\n\n", "names no gene; write one gene per line")
named("gene list that is no text", "genes", "genes.txt", b"\x89PNG\r\n\x1a\n", "not UTF-8 text", "one gene per line")
named("folds that are no JSON", "gene_folds", "f.json", "{'s1': []}", "not valid JSON", "expected {sample: [[gene")
named("folds nested too deep", "gene_folds", "f.json", "[" * 100_000, "not valid JSON", "expected {sample: [[gene")
named("folds of another shape", "gene_folds", "f.json", '{"s1": ["Gene1", "Gene2"]}', "for sample 's1'", "[[gene")
named("folds of no sample", "gene_folds", "f.json", '{"s9": [["Gene1"], ["Gene2"]]}', "none of which is in the sheet")
named("one fold", "gene_folds", "f.json", '{"s1": [["Gene1", "Gene2"]]}', "expected at least 2 folds")
named(
    "gene in two folds", "gene_folds", "f.json", '{"s1": [["Gene1"], ["Gene1"]]}', "is in 2 places; hold each out once"
)
named("unknown gene in folds", "gene_folds", "f.json", '{"s1": [["Gene1"], ["Gad1"]]}', "not in spatial.h5ad: 'Gad1'")
named("aliases without tabs", "gene_aliases", "a.tsv", "old new\n", "line 1: found 'old new', expected an alias, a tab")
named("alias of two genes", "gene_aliases", "a.tsv", "a\tGene1\na\tGene2\n", "line 2: alias 'a' stands for", "keep one")
named("aliases that are no text", "gene_aliases", "a.tsv", b"a\t\xff\n", "not UTF-8 text (byte 2)")
