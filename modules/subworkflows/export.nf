include { EXPORT } from '../local/export/main.nf'

// The imputed files in the formats that --export asks for.
workflow EXPORT_IMPUTED {
    take:
    inputs         // [meta, folder]
    imputed        // [meta, file or zarr folder]
    xenium_folders // [sample, folder, its contents], of samples that Xenium Explorer may show
    formats        // names
    package_digest

    main:
    given = inputs.join(imputed)
    stores = given
        .filter { 'spatialdata' in formats }
        .map { meta, folder, result -> [meta, folder, result, 'spatialdata', [], []] }
    matrices = given
        .filter { 'explorer' in formats }
        .map { meta, folder, result -> [meta.id, meta, folder, result] }
        .join(xenium_folders)
        .map { _sample, meta, folder, result, raw, contents -> [meta, folder, result, 'explorer', [raw], contents] }
    EXPORT(stores.mix(matrices), package_digest)
    exported = EXPORT.out.exported

    emit:
    exported // [meta, store or folder]
}
