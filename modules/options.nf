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
        encoder: params.encoder,
        n_latent: params.n_latent,
        n_hidden: params.n_hidden,
        max_steps: params.max_steps,
        batch_size: params.batch_size,
        learning_rate: params.learning_rate,
        spatial_likelihood: params.spatial_likelihood,
        reference_likelihood: params.reference_likelihood,
        seeds: params.seeds,
        seed: params.seed,
        checkpoint_dir: checkpointFolder(workflow.workDir),
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
            seed: params.seed,
        ],
        crossvalidate: train + [kappa: params.kappa == 'auto' ? commaList(params.kappa_grid) : params.kappa],
        train: train + [kappa: params.kappa],
        evaluate: [preset: params.preset, verdict_pass: params.verdict_pass, verdict_warn: params.verdict_warn],
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

// Parameters that no result depends on.
def elsewhere() {
    return [
        'input', 'outdir', 'publish_dir_mode', 'export', 'cells_per_task', 'accelerator', 'gpu_cluster_options',
        'container_registry', 'help',
    ]
}
