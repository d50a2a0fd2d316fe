include { commaList ; flags  } from './functions.nf'
include { checkpointFolder } from './run.nf'

/*
 * Which parameter reaches which step. Each step takes its own options as an input, so that a changed
 * parameter runs again only the steps that use it.
 */

// Step -> the options of its command line.
def stepOptions(params) {
    // What a result depends on, without which sheet named it, where it goes and on what machine it is made.
    def science = params.findAll { name, _value -> !(name in elsewhere()) }
    def train = [
        preset: params.preset,
        train_on: params.train_on,
        encoder: params.encoder,
        n_latent: params.n_latent,
        n_hidden: params.n_hidden,
        max_steps: params.max_steps,
        batch_size: params.batch_size,
        learning_rate: params.learning_rate,
        spatial_likelihood: params.spatial_likelihood,
        reference_likelihood: params.reference_likelihood,
        other_gene_weight: params.other_gene_weight,
        max_spatial_weight: params.max_spatial_weight,
        second_input: yesOrNo(params.second_input),
        zero_inflated_mean: yesOrNo(params.zero_inflated_mean),
        seeds: params.seeds,
        seed: params.seed,
        checkpoint_dir: checkpointFolder(workflow.workDir),
    ]
    def recipe = [
        blend: params.blend == null ? null : commaList(params.blend).replace(' ', ''),
        graph: yesOrNo(params.graph),
    ]
    def steps = [
        qc: [
            min_counts: params.min_counts,
            min_genes: params.min_genes,
            max_mad: params.max_mad,
            drop_outliers: "${params.drop_outliers}" == 'true',
        ],
        select_genes: [
            cv_folds: params.cv_folds,
            n_top_genes: params.n_top_genes,
            max_shared_genes: params.max_shared_genes,
            min_shared_genes: params.min_shared_genes,
            score_cells: params.score_cells,
            training: params.train_on == 'reference',
            seed: params.seed,
        ],
        pretrain: train,
        crossvalidate: train + [kappa: params.kappa == 'auto' ? commaList(params.kappa_grid) : params.kappa],
        train: train + recipe + [kappa: params.kappa],
        evaluate: recipe + [
            preset: params.preset,
            verdict_pass: params.verdict_pass,
            verdict_warn: params.verdict_warn,
        ],
        impute: [
            n_samples: params.n_samples,
            interval: params.interval,
            seed: params.seed,
            imputed_format: params.imputed_format,
            layers: "${commaList(params.layers)}".replace(' ', ''),
            params_json: groovy.json.JsonOutput.toJson(science),
        ],
        gather: [imputed_format: params.imputed_format],
    ]
    return steps.collectEntries { step, options -> [step, flags(options)] }
}

// A switch as a word, since an option that is false would be left out; null leaves it to the preset.
def yesOrNo(value) {
    return value == null ? null : "${value}"
}

// Parameters that no result depends on.
def elsewhere() {
    return [
        'input', 'outdir', 'publish_dir_mode', 'export', 'cells_per_task', 'accelerator', 'gpu_cluster_options',
        'container_registry', 'help',
    ]
}
