package nextflow.script.control

import org.codehaus.groovy.control.CompilerConfiguration
import org.codehaus.groovy.control.ErrorCollector
import org.codehaus.groovy.control.messages.Message
import org.codehaus.groovy.control.messages.WarningMessage

/**
 * Stands in for Nextflow's own, for the same reason: with it `nextflow lint` ends in a null pointer, instead of its
 * findings, where a file has errors without warnings or warnings without errors.
 */
class LazyErrorCollector extends ErrorCollector {
    LazyErrorCollector(CompilerConfiguration configuration) {
        super(configuration)
    }

    @Override
    protected void failIfErrors() {}

    @Override
    List<? extends Message> getErrors() {
        return super.getErrors() ?: []
    }

    @Override
    List<WarningMessage> getWarnings() {
        return super.getWarnings() ?: []
    }
}
