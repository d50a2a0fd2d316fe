include { digest } from './functions.nf'

/*
 * The methods of assets/methods.json: what each needs of a machine, and in which environment it runs.
 */

// gimVI, whose models impute, and the methods it is compared with, as maps with their names; what has no entry is
// left out, since it is CHECK_INPUTS' to say so.
def chosenMethods(names) {
    def known = new groovy.json.JsonSlurperClassic().parseText(file("${projectDir}/assets/methods.json").text)
    return (['gimvi'] + names)
        .unique()
        .findAll { name -> known.containsKey(name) }
        .collect { name -> [name: name] + known[name] + [digest: methodDigest(known[name])] }
}

// Digest of what a method runs besides the package: scripts of its own, and the lock of an environment of its own.
def methodDigest(method) {
    def scripts = method.command ? files("${projectDir}/bin/methods/**") : []
    return digest(scripts + [file("${projectDir}/containers/envs/${method.environment}/requirements.lock")])
}
