package nextflow.config

/**
 * Stands in for Nextflow's own in the set of jars that Maven Central has: their nf-lang is older than the rest, does
 * not know process selectors, and would warn of every `withLabel` and `publishDir` in a configuration.
 */
class ConfigValidator {
    void validate(ConfigMap config) {}

    void validate(ConfigObject config) {}
}
